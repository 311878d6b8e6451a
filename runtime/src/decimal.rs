//! Numbers in decimal where no memory can be had.

/// The digits of a number.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    digits: [u8; 10],
    start: usize,
}

impl Decimal {
    /// Writes `number` in decimal.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let mut decimal = Self { digits: [b'0'; 10], start: 10 };
        let mut rest = number;
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] += u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                return decimal;
            }
        }
    }

    /// The digits, without leading zeros.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[test]
    fn writes_every_length() {
        for number in [0, 7, 10, 1_204, u32::MAX] {
            assert_eq!(Decimal::new(number).bytes(), number.to_string().as_bytes());
        }
    }
}
