//! Strided views through the Rust API: what is wrong with one is a status, and nothing is written.

use mish::{Device, Dtype, Op, Status, View};

#[test]
fn as_many_strides_as_dimensions() {
    let mut x = [1.0_f32; 6];
    let mut y = [7.0_f32; 6];
    for (of_x, of_y, name) in [
        (&[1][..], &[3, 1][..], "x:"),
        (&[3, 1], &[6, 3, 1], "y:"),
        (&[3, 1], &[], "y:"),
    ] {
        let view = |values: &mut [f32; 6], strides| View {
            data: values.as_mut_ptr().cast(),
            dtype: Dtype::F32,
            device: Device::Cpu,
            device_id: 0,
            shape: &[2, 3],
            strides: Some(strides),
        };
        let views = [Some(view(&mut x, of_x)), Some(view(&mut y, of_y))];
        // SAFETY: no more than six elements are addressed.
        let error = unsafe { mish::run(Op::Forward, &views, std::ptr::null_mut()) }.unwrap_err();
        assert_eq!(error.status(), Status::InvalidShape, "{error}");
        assert!(error.message().starts_with(name), "{error}");
        assert_eq!(y, [7.0; 6]);
    }
}
