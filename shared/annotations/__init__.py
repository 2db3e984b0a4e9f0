"""What people said in annotation tools: each tool's export is read in one file.

It becomes a training set (`jamak data import`) or feedback (`jamak feedback import`). Knows nothing
of either, of S3, and of what may be trained on.
"""
