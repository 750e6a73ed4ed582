#[test]
fn _x() {}
