pub fn run(_iterations: u32) {}
pub fn share() {}
