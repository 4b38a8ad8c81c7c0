"""Values as bytes and back; functions, classes and exceptions that only this program knows among them."""
