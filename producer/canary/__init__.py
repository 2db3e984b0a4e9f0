"""Is the canary worse than the adapter in use, or not, or does nobody know yet?"""
