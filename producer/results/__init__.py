"""Results told to whoever wants to hear of them: an SNS topic, an EventBridge bus, a webhook."""
