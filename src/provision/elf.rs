//! For which machines a program is: what its ELF header says (System V ABI, "Object Files"). Pure.

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// As `uname -m` says it; none for one that is not known here.
    pub architecture: Option<&'static str>,
    /// Whether it needs the libraries of the machine that it runs on.
    pub is_dynamic: bool,
}

/// `e_machine` and what `uname -m` calls it.
const ARCHITECTURES: [(u16, &str); 6] = [
    (21, "ppc64le"),
    (22, "s390x"),
    (40, "armv7l"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
];

/// `p_type` of the segment that names an interpreter: the dynamic linker.
const PT_INTERP: u64 = 3;

/// Reads the header; none for what is no ELF file, or one that is cut short.
#[must_use]
pub fn header(file: &[u8]) -> Option<Header> {
    let [0x7f, b'E', b'L', b'F', class @ (1 | 2), data @ (1 | 2)] = *file.first_chunk()? else {
        return None;
    };
    let (is_wide, is_little) = (class == 2, data == 1);
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(length)?)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if is_little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    };
    let machine = number(18, 2)?;
    let (table, size, count) = if is_wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    let mut is_dynamic = false;
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        is_dynamic |= number(usize::try_from(at).ok()?, 4)? == PT_INTERP;
    }
    let known = ARCHITECTURES.iter().find(|(known, _)| u64::from(*known) == machine);
    Some(Header { architecture: known.map(|(_, name)| *name), is_dynamic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raptor_itself_is_read_and_what_is_no_program_is_told() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let read = header(&own).unwrap();
        assert_eq!(read.architecture, Some(std::env::consts::ARCH));
        let mut other = own;
        other[18..20].copy_from_slice(&183u16.to_le_bytes());
        assert_eq!(header(&other).unwrap().architecture, Some("aarch64"));
        other[18..20].copy_from_slice(&9u16.to_le_bytes());
        assert_eq!(header(&other).unwrap().architecture, None);
        assert_eq!(header(b"#!/bin/sh\n"), None);
        assert_eq!(header(&other[..40]), None);
    }

    #[test]
    fn a_program_with_an_interpreter_is_dynamic() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(header(&shell).is_none_or(|header| header.is_dynamic));
    }

    #[test]
    fn any_bytes_are_read() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = header(bytes);
            let _ = header(&[&b"\x7fELF\x02\x01"[..], bytes].concat());
        });
    }
}
