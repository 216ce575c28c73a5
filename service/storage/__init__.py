"""What is remembered, on any database, and until when; rules on a session are in `challenges`."""
