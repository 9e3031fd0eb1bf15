"""An SMTP daemon that receives mail, on Twisted."""

__version__ = "0.1.0"
