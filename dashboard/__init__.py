"""The web application that people see."""
