//! The node's configuration: schema, validation, and its public part.
