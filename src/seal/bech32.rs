//! Bech32 (BIP 173), in which age writes its keys. Without its bound of 90 digits.

use zeroize::Zeroizing;

const DIGITS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const CHECKSUM_LENGTH: usize = 6;

/// 32 bytes in lower case, with `prefix` before them.
pub(super) fn encode(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut values = regroup(bytes, 8, 5, true).unwrap_or_default();
    let mut checked = spread(prefix);
    checked.extend_from_slice(&values);
    checked.extend_from_slice(&[0; CHECKSUM_LENGTH]);
    let checksum = polymod(&checked) ^ 1;
    for place in (0..CHECKSUM_LENGTH).rev() {
        values.push(u8::try_from((checksum >> (5 * place)) & 31).unwrap_or_default());
    }
    let digits = values.iter().map(|value| char::from(DIGITS[usize::from(*value)]));
    Zeroizing::new(prefix.chars().chain(std::iter::once('1')).chain(digits).collect())
}

/// Reads what [`encode`] wrote, in lower case or in upper case alone.
pub(super) fn decode(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let has = |test: fn(&u8) -> bool| text.bytes().any(|byte| test(&byte));
    if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) {
        return None;
    }
    let text = Zeroizing::new(text.to_ascii_lowercase());
    let digits = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let value = |digit: u8| DIGITS.iter().position(|known| *known == digit);
    let values = digits.bytes().map(|digit| u8::try_from(value(digit)?).ok());
    let values: Zeroizing<Vec<u8>> = Zeroizing::new(values.collect::<Option<_>>()?);
    let mut checked = spread(prefix);
    checked.extend_from_slice(&values);
    if polymod(&checked) != 1 {
        return None;
    }
    let content = values.get(..values.len().checked_sub(CHECKSUM_LENGTH)?)?;
    let bytes = regroup(content, 5, 8, false)?;
    let mut out = Zeroizing::new([0; 32]);
    if bytes.len() != out.len() {
        return None;
    }
    out.copy_from_slice(&bytes);
    Some(out)
}

fn spread(prefix: &str) -> Zeroizing<Vec<u8>> {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    Zeroizing::new(high.chain(std::iter::once(0)).chain(low).collect())
}

fn polymod(values: &[u8]) -> u32 {
    values.iter().fold(1u32, |sum, value| {
        let top = sum >> 25;
        let shifted = ((sum & 0x01ff_ffff) << 5) ^ u32::from(*value);
        let terms = GENERATOR.iter().enumerate().filter(|(bit, _)| (top >> bit) & 1 == 1);
        terms.fold(shifted, |sum, (_, term)| sum ^ term)
    })
}

/// Cuts bits into groups of another size; what is over at the end is padded, or must be padding.
fn regroup(groups: &[u8], from: u32, to: u32, pads: bool) -> Option<Zeroizing<Vec<u8>>> {
    // It never grows, so no part of it is left elsewhere in memory.
    let mut out = Zeroizing::new(Vec::with_capacity(64));
    let (mut held, mut bits) = (0u32, 0u32);
    for group in groups {
        held = ((held << from) | u32::from(*group)) & 0xfff;
        bits += from;
        while bits >= to {
            bits -= to;
            out.push(u8::try_from((held >> bits) & ((1 << to) - 1)).ok()?);
        }
    }
    let rest = held & ((1 << bits) - 1);
    if pads && bits > 0 {
        out.push(u8::try_from(rest << (to - bits)).ok()?);
    } else if !pads && (bits >= from || rest != 0) {
        return None;
    }
    Some(out)
}
