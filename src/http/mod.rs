//! Floor 4: the API over an `AgentHandle`, and its client.
