"""The protections that tests hold, each taken out to see that its test fails."""
