//! Floor 1: hands on a host. `trait Host`: exec, upload; through OpenSSH, locally, or recorded.
