//! Random numbers, the same in each run, and words that tell more than most. Relies on nothing.

/// Numbers that look random and come again with the same seed (splitmix64, Steele and others 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.number() % end as u64) as usize }
    }
}

/// Words that break what trusts them: ends of ranges, powers of two and their neighbours.
#[must_use]
pub fn telling_word(random: &mut Random) -> u64 {
    const WORDS: [u64; 12] = [
        0,
        1,
        2,
        3,
        u64::MAX,
        i64::MAX as u64,
        // The highest version, in any slot, and the first words around it.
        (1 << 58) - 1,
        !63,
        1 << 58,
        u32::MAX as u64,
        0x0A0B_0C0D,
        16_384,
    ];
    match random.below(8) {
        0..3 => WORDS[random.below(WORDS.len())],
        3 => (1 << random.below(64)) - random.number() % 2,
        4 => random.number() % 70,
        5 => ((random.number() % 300) << 6) | (random.number() % 10),
        6 => random.number() % 40_000,
        _ => random.number(),
    }
}
