//! What a payload makes the CRDT's decoder reserve, before the decoder sees it.
//!
//! loro 1.17 reserves memory for as many changes, operations and list items as an update *says* that it
//! holds: 200 bytes ask for 250 GB, and an agent that gets none is ended by the system. So each number is
//! first held against the bytes that must follow it. Only what raptor writes is let through: operations
//! on maps.
//!
//! Layout of an update: magic 4, checksum 16, mode 2 (big-endian), then blocks, each with its length as
//! LEB128. A block is loro's `EncodedBlock` as postcard writes it.

/// Bytes before the mode, and the mode of an update.
const MODE_START: usize = 20;
const MODE_UPDATES: [u8; 2] = [0, 4];

/// Changes of others that one update may follow.
const DEPENDENCIES_MAX: u64 = 65_536;

/// Operations: neighbours that differ in nothing but their key share their bytes.
const OPERATIONS_PER_BYTE: u64 = 256;
const OPERATIONS_MAX: u64 = 1 << 20;

/// Lists within lists: JSON of that depth is not read anyway, and giving it back takes stack.
const DEPTH_MAX: usize = 128;

/// Why a payload is not handed to the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadFault {
    #[error("it ends early")]
    Short,
    #[error("it is no update of a document")]
    Mode,
    #[error("it says that it holds {0}, more than its bytes can")]
    TooMany(&'static str),
    #[error("it holds {0}, which no build writes")]
    Foreign(&'static str),
}

/// Looks through `payload` without reserving anything.
pub(super) fn check(payload: &[u8]) -> Result<(), PayloadFault> {
    let body = payload.get(MODE_START..).ok_or(PayloadFault::Short)?;
    let body = body.strip_prefix(&MODE_UPDATES).ok_or(PayloadFault::Mode)?;
    let mut reader = Reader(body);
    while !reader.0.is_empty() {
        check_block(reader.bytes()?)?;
    }
    Ok(())
}

fn check_block(block: &[u8]) -> Result<(), PayloadFault> {
    let mut reader = Reader(block);
    // First counter, counters, first lamport time, lamport times.
    for _ in 0..4 {
        reader.number()?;
    }
    let changes = reader.number()?;
    check_changes(changes, reader.bytes()?)?;
    let [_meta, _containers, _keys] = [reader.bytes()?, reader.bytes()?, reader.bytes()?];
    if !reader.bytes()?.is_empty() {
        return Err(PayloadFault::Foreign("a tree"));
    }
    let operations = reader.bytes()?;
    if !reader.bytes()?.is_empty() {
        return Err(PayloadFault::Foreign("a text or a list"));
    }
    let values = reader.bytes()?;
    let bound = (block.len() as u64 * OPERATIONS_PER_BYTE).min(OPERATIONS_MAX);
    check_operations(operations, values, bound)
}

/// The header: peers, lengths of all changes but the last, whether each follows the one before, how many
/// others each follows, and so on, for as many as `changes` says.
fn check_changes(changes: u64, header: &[u8]) -> Result<(), PayloadFault> {
    if changes > header.len() as u64 {
        return Err(PayloadFault::TooMany("changes"));
    }
    let mut reader = Reader(header);
    let peers = reader.number()?;
    reader.take(peers.checked_mul(8).ok_or(PayloadFault::Short)?)?;
    for _ in 1..changes {
        reader.number()?;
    }
    let mut seen = 0;
    while seen < changes {
        seen = reader.number()?.saturating_add(seen);
    }
    let (mut seen, mut dependencies) = (0, 0u64);
    while seen < changes {
        let run = reader.run()?;
        let values = if run.is_literal { run.count.min(changes - seen) } else { 1 };
        for _ in 0..values {
            let times = if run.is_literal { 1 } else { run.count.min(changes - seen) };
            dependencies = dependencies.saturating_add(reader.number()?.saturating_mul(times));
        }
        seen = seen.saturating_add(run.count);
    }
    if dependencies > DEPENDENCIES_MAX {
        return Err(PayloadFault::TooMany("dependencies"));
    }
    Ok(())
}

/// The operations' columns (container, key, kind of value, length), and the values one by one.
fn check_operations(columns: &[u8], values: &[u8], bound: u64) -> Result<(), PayloadFault> {
    let mut reader = Reader(columns);
    if reader.number()? != 1 || reader.number()? != 4 {
        return Err(PayloadFault::Foreign("other columns"));
    }
    let [_container, _key, kinds, _length] =
        [reader.bytes()?, reader.bytes()?, reader.bytes()?, reader.bytes()?];
    let (mut kinds, mut values) = (Reader(kinds), Reader(values));
    let mut seen = 0u64;
    while !kinds.0.is_empty() {
        let run = kinds.run()?;
        seen = seen.saturating_add(run.count);
        if seen > bound {
            return Err(PayloadFault::TooMany("operations"));
        }
        let mut kind = 0;
        for place in 0..run.count {
            if run.is_literal || place == 0 {
                kind = kinds.byte()?;
            }
            values.operation(kind)?;
        }
    }
    Ok(())
}

/// Several equal values, or several that follow each other.
struct Run {
    count: u64,
    is_literal: bool,
}

/// What is left of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, PayloadFault> {
        let (first, rest) = self.0.split_first().ok_or(PayloadFault::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], PayloadFault> {
        let count = usize::try_from(count).map_err(|_| PayloadFault::Short)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PayloadFault::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned LEB128, as postcard writes numbers, too. What is beyond 64 bits is dropped, as the
    /// decoder refuses it.
    fn number(&mut self) -> Result<u64, PayloadFault> {
        let mut number = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(number)
    }

    fn bytes(&mut self) -> Result<&'a [u8], PayloadFault> {
        let count = self.number()?;
        self.take(count)
    }

    /// A run-length: positive for equal values, negative for literal ones (zigzag).
    fn run(&mut self) -> Result<Run, PayloadFault> {
        let number = self.number()?;
        let is_literal = number & 1 == 1;
        let count = if is_literal { (number >> 1).saturating_add(1) } else { number >> 1 };
        if count == 0 { Err(PayloadFault::Short) } else { Ok(Run { count, is_literal }) }
    }

    /// The value of an operation of `kind` (loro's `ValueKind`).
    fn operation(&mut self, kind: u8) -> Result<(), PayloadFault> {
        match kind {
            // Nothing, truth, deletion.
            0..=2 | 8 => Ok(()),
            // Numbers, and the place of a container.
            3 | 7 => self.number().map(drop),
            4 => self.take(8).map(drop),
            5 | 6 => self.bytes().map(drop),
            11 => self.value(),
            _ => Err(PayloadFault::Foreign("a text, a list or a tree")),
        }
    }

    /// A value that says itself what it is (loro's `LoroValueKind`), with all that is in it.
    fn value(&mut self) -> Result<(), PayloadFault> {
        // Of each list or object that is open: how many items are left, and whether they have keys.
        let mut open: Vec<(u64, bool)> = Vec::new();
        let mut outstanding = 0u64;
        loop {
            let items = match self.byte()? {
                0..=2 => None,
                3 => self.number().map(|_| None)?,
                4 => self.take(8).map(|_| None)?,
                5 | 6 => self.bytes().map(|_| None)?,
                7 => Some((self.number()?, false)),
                8 => Some((self.number()?, true)),
                9 => self.byte().map(|_| None)?,
                _ => return Err(PayloadFault::Foreign("a value of a later build")),
            };
            if let Some((count, has_keys)) = items {
                outstanding = outstanding.saturating_add(count);
                if outstanding > self.0.len() as u64 {
                    return Err(PayloadFault::TooMany("items"));
                }
                open.push((count, has_keys));
                if open.len() > DEPTH_MAX {
                    return Err(PayloadFault::TooMany("levels"));
                }
            }
            while open.last().is_some_and(|(left, _)| *left == 0) {
                open.pop();
            }
            let Some((left, has_keys)) = open.last_mut() else { return Ok(()) };
            *left -= 1;
            outstanding -= 1;
            if *has_keys {
                self.number()?;
            }
        }
    }
}

#[cfg(test)]
mod tests;
