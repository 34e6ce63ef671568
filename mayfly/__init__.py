"""The doors of Mayfly: command line, web pages, and the embedded cloud."""
