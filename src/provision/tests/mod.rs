//! Provisioning against a recorder and a real shell.
