"""Protected people: enrolment, their templates under keys of their own, and the gallery that faces are compared with."""
