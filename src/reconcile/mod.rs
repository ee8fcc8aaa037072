//! Floor 1: (document, facts, now) -> Plan. One file per rule; pure.
