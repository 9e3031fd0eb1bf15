"""MailDir: messages in Maildirs."""
