/// Random, and the same every time.
#[derive(Default)]
pub struct Dice(pub u64);

impl Dice {
    /// A number from 0 on, and less than `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
