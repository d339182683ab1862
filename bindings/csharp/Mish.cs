// libmish for C#: arrays in host memory, and statuses as exceptions. Everything else is called
// through Ffi, whose declarations are generated; pass what it returns to Functions.Check.

namespace Mish {
using System;
using System.Runtime.InteropServices;
using System.Text;

/// <summary>What the library refused, in its own words, which name the argument.</summary>
public sealed class MishException : Exception {
    /// <summary>One of Ffi.MISH_STATUS_*.</summary>
    public int Status { get; private set; }

    public MishException(int status, string message) : base(message) {
        Status = status;
    }
}

/// <summary>Mish, its gradient and its second derivative of arrays of float or double.</summary>
public static unsafe class Functions {
    /// <summary>mish(x)</summary>
    public static T[] Forward<T>(T[] x) where T : struct {
        int n = SameLength("x", x, x);
        var y = new T[n];
        using (Pinned px = new Pinned(x), py = new Pinned(y))
            Check(Ffi.mish_forward(
                Ffi.MISH_DEVICE_CPU, Dtype(typeof(T)), px.Pointer, py.Pointer, (UIntPtr)n, null));
        return y;
    }

    /// <summary>gradY * mish'(x)</summary>
    public static T[] Backward<T>(T[] gradY, T[] x) where T : struct {
        int n = SameLength("gradY", gradY, x);
        var gradX = new T[n];
        using (Pinned pg = new Pinned(gradY), px = new Pinned(x), pr = new Pinned(gradX))
            Check(Ffi.mish_backward(
                Ffi.MISH_DEVICE_CPU, Dtype(typeof(T)), pg.Pointer, px.Pointer, pr.Pointer,
                (UIntPtr)n, null));
        return gradX;
    }

    /// <summary>The gradient of Backward with respect to gradY and to x.</summary>
    public static void DoubleBackward<T>(
        T[] gradGradX, T[] gradY, T[] x, out T[] gradGradY, out T[] gradX) where T : struct {
        SameLength("gradGradX", gradGradX, x);
        int n = SameLength("gradY", gradY, x);
        gradGradY = new T[n];
        gradX = new T[n];
        using (Pinned ph = new Pinned(gradGradX), pg = new Pinned(gradY), px = new Pinned(x),
                      pq = new Pinned(gradGradY), pr = new Pinned(gradX))
            Check(Ffi.mish_double_backward(
                Ffi.MISH_DEVICE_CPU, Dtype(typeof(T)), ph.Pointer, pg.Pointer, px.Pointer,
                pq.Pointer, pr.Pointer, (UIntPtr)n, null));
    }

    /// <summary>The number of devices of a kind, one of Ffi.MISH_DEVICE_*.</summary>
    public static int DeviceCount(int device) {
        int count;
        Check(Ffi.mish_device_count(device, &count));
        return count;
    }

    /// <summary>Throws unless a call succeeded, with the library's message.</summary>
    public static void Check(int status) {
        if (status != Ffi.MISH_STATUS_OK)
            throw new MishException(
                status, Text(Ffi.mish_status_name(status)) + ": " + Text(Ffi.mish_last_error()));
    }

    /// <summary>A string of the library's.</summary>
    public static string Text(byte* pointer) {
        int length = 0;
        while (pointer[length] != 0) length++;
        var bytes = new byte[length];
        Marshal.Copy((IntPtr)pointer, bytes, 0, length);
        return Encoding.UTF8.GetString(bytes);
    }

    private static int Dtype(Type type) {
        if (type == typeof(float)) return Ffi.MISH_DTYPE_F32;
        if (type == typeof(double)) return Ffi.MISH_DTYPE_F64;
        throw new ArgumentException("arrays of " + type + ": float and double are supported");
    }

    // Only the arrays themselves are not the library's to check.
    private static int SameLength(string name, Array array, Array x) {
        if (array == null) throw new ArgumentNullException(name);
        if (x == null) throw new ArgumentNullException("x");
        if (array.Length != x.Length)
            throw new ArgumentException(
                "has " + array.Length + " elements, but x has " + x.Length, name);
        return x.Length;
    }

    // An array that the garbage collector leaves where it is.
    private sealed class Pinned : IDisposable {
        private GCHandle handle;

        public Pinned(Array array) {
            handle = GCHandle.Alloc(array, GCHandleType.Pinned);
        }

        public void* Pointer {
            get { return (void*)handle.AddrOfPinnedObject(); }
        }

        public void Dispose() {
            handle.Free();
        }
    }
}
}
