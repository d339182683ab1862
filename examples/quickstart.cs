// Mish, its gradient and its second derivative from C#: on arrays and, where there is a GPU, on
// device memory, here the driver's own.
//
//     mcs -unsafe -out:quickstart.exe examples/quickstart.cs bindings/csharp/*.cs
//     LD_LIBRARY_PATH=target/release mono quickstart.exe

using System;
using System.Globalization;
using System.Runtime.InteropServices;
using Mish;

static unsafe class Quickstart {
    static readonly float[] x = { -20, -5, -2, -1, 0, 0.5f, 1, 10 };
    static readonly float[] gradY = { 1, 2, 3, 4, 5, 6, 7, 8 };
    static readonly float[] gradGradX = { 8, 7, 6, 5, 4, 3, 2, 1 };

    static void Show(string device, string operation, float[] values) {
        for (int i = 0; i < values.Length; i++)
            Console.WriteLine(String.Format(
                CultureInfo.InvariantCulture, "{0} {1} {2} {3:G9}", device, operation, i, values[i]));
    }

    static void OnHost() {
        Show("cpu", "forward", Functions.Forward(x));
        Show("cpu", "backward", Functions.Backward(gradY, x));
        float[] gradGradY, gradX;
        Functions.DoubleBackward(gradGradX, gradY, x, out gradGradY, out gradX);
        Show("cpu", "grad_grad_y", gradGradY);
        Show("cpu", "grad_x", gradX);
    }

    // What the library refuses is an exception with its words.
    static void OnError() {
        try {
            Functions.Check(Ffi.mish_forward(
                Ffi.MISH_DEVICE_CPU, Ffi.MISH_DTYPE_F32, null, null, (UIntPtr)x.Length, null));
        } catch (MishException error) {
            if (error.Status != Ffi.MISH_STATUS_NULL_POINTER
                || !error.Message.StartsWith("MISH_STATUS_NULL_POINTER: x: "))
                throw;
            Console.Error.WriteLine("as it should be: " + error.Message);
            OnNull();
            return;
        }
        throw new Exception("a NULL pointer was taken");
    }

    // So is an array that is none, by its name.
    static void OnNull() {
        try {
            Functions.Backward(null, x);
        } catch (ArgumentNullException error) {
            if (error.ParamName != "gradY") throw;
            return;
        }
        throw new Exception("null was taken");
    }

    // The few functions of the driver that hold memory.
    const string Driver = "libcuda.so.1";
    [DllImport(Driver)] static extern int cuInit(uint flags);
    [DllImport(Driver)] static extern int cuDevicePrimaryCtxRetain(out IntPtr context, int device);
    [DllImport(Driver)] static extern int cuCtxSetCurrent(IntPtr context);
    [DllImport(Driver)] static extern int cuMemAlloc_v2(out IntPtr pointer, UIntPtr bytes);
    [DllImport(Driver)] static extern int cuMemcpyHtoD_v2(IntPtr to, float[] from, UIntPtr bytes);
    [DllImport(Driver)] static extern int cuMemcpyDtoH_v2(float[] to, IntPtr from, UIntPtr bytes);

    static readonly UIntPtr bytes = (UIntPtr)(x.Length * sizeof(float));

    static void Succeed(int code) {
        if (code != 0) throw new Exception("CUDA driver error " + code);
    }

    static void* Upload(float[] values) {
        IntPtr pointer;
        Succeed(cuMemAlloc_v2(out pointer, bytes));
        Succeed(cuMemcpyHtoD_v2(pointer, values, bytes));
        return (void*)pointer;
    }

    // A copy on the default stream waits for what was enqueued there.
    static float[] Download(void* pointer) {
        var values = new float[x.Length];
        Succeed(cuMemcpyDtoH_v2(values, (IntPtr)pointer, bytes));
        return values;
    }

    static void OnGpu() {
        const int device = Ffi.MISH_DEVICE_CUDA, dtype = Ffi.MISH_DTYPE_F32;
        IntPtr context;
        Succeed(cuInit(0));
        Succeed(cuDevicePrimaryCtxRetain(out context, 0));
        Succeed(cuCtxSetCurrent(context));
        void* dx = Upload(x), dg = Upload(gradY), dh = Upload(gradGradX);
        void* first = Upload(x), second = Upload(x);
        var n = (UIntPtr)x.Length;
        Functions.Check(Ffi.mish_forward(device, dtype, dx, first, n, null));
        Show("cuda", "forward", Download(first));
        Functions.Check(Ffi.mish_backward(device, dtype, dg, dx, first, n, null));
        Show("cuda", "backward", Download(first));
        Functions.Check(Ffi.mish_double_backward(device, dtype, dh, dg, dx, first, second, n, null));
        Show("cuda", "grad_grad_y", Download(first));
        Show("cuda", "grad_x", Download(second));
    }

    static void Main() {
        OnHost();
        OnError();
        int gpus = 0;
        try {
            gpus = Functions.DeviceCount(Ffi.MISH_DEVICE_CUDA);
        } catch (MishException error) {
            Console.Error.WriteLine("no GPU: " + error.Message);
        }
        if (gpus > 0) OnGpu();
    }
}
