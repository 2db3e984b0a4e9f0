output "queue" {
  value = { name = aws_sqs_queue.events.name, url = aws_sqs_queue.events.url, arn = aws_sqs_queue.events.arn }
}

output "dead_letters" {
  value = { name = aws_sqs_queue.dead_letters.name, url = aws_sqs_queue.dead_letters.url }
}
