//! Faithful stand-ins for the services: for the demo, for training and for tests.
