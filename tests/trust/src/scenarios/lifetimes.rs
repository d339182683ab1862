pub fn first_use() {}
pub fn many_threads() {}
pub fn fork() {}
pub fn exit_while_calling() {}
pub fn signals() {}
pub fn reload() {}
pub fn leaks() {}
pub fn panic() {}
