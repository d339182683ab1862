pub fn fuzz(_calls: u64, _seed: u64) {}
pub fn share() {}
