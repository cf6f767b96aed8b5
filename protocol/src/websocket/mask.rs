//! Masking of client frames: the same operation in both directions.

/// Exclusive-or of `payload` with `key`, where `offset` is the place of `payload[0]` in its frame.
///
/// Eight bytes at a time, in a loop that the compiler widens to vectors.
#[inline]
pub fn unmask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    // RFC 6455, 5.3: octet i is transformed with octet i MOD 4 of the key.
    let key = u32::from_le_bytes(key).rotate_right(8 * (offset % key.len()) as u32);
    let wide = u64::from(key) << 32 | u64::from(key);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_at_every_length_and_offset() {
        let key = [0x11, 0x82, 0xf3, 0x04];
        for length in 0..70 {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..length as u8).map(|byte| byte.wrapping_mul(31)).collect();
                let mut masked = plain.clone();
                unmask(&mut masked, key, offset);
                for (index, byte) in masked.iter().enumerate() {
                    assert_eq!(*byte, plain[index] ^ key[(index + offset) % 4]);
                }
            }
        }
    }
}
