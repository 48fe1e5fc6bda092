using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>native/include/nibble.h, entry by entry; the header says what each argument means.</summary>
internal static unsafe partial class NativeMethods
{
    public const int AbiVersion = 5;
    private const string Library = LibNibble.Name;

    [StructLayout(LayoutKind.Sequential)]
    public struct Weight
    {
        public long Rows;
        public long Cols;
        public int Format;
        public float AbsmaxOffset;
        public nint Data;
        public nint Absmax;
        public nint AbsmaxCodes;
        public nint NestedAbsmax;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct Lora
    {
        public long Rank;
        public float Scale;
        public float Dropout;
        public nint A;
        public nint B;
        public ulong Seed;
        public uint Step;
        public uint Layer;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct AdamW
    {
        public double LearningRate;
        public double Beta1;
        public double Beta2;
        public double Epsilon;
        public double WeightDecay;
        public double GradScale;
        public long Step;
    }

    /// <summary>nibble_rounding.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Rounding
    {
        public ulong Seed;
        public long First;
        public uint Parameter;
    }

    /// <summary>nibble_attention.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Attention
    {
        public int* Lengths;
        public long Sequences;
        public long Heads;
        public long KeyValueHeads;
        public long HeadDim;
        public long Window;
        public float Scale;
    }

    /// <summary>nibble_launch.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Launch
    {
        public nint Kernel;
        public fixed uint Grid[3];
        public uint Threads;
        public uint SharedBytes;
        public uint ArgumentBytes;
        public nint Arguments;
    }

    /// <summary>nibble_device.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Device
    {
        public int ComputeCapability;
        public int Multiprocessors;
        public int SharedBytesPerBlock;
        public nint Context;
        public delegate* unmanaged[Cdecl]<nint, Launch*, byte*, int, int> Launch;
        public delegate* unmanaged[Cdecl]<nint, ulong, nint> Workspace;
    }

    [LibraryImport(Library)]
    public static partial int nibble_abi_version();

    [LibraryImport(Library)]
    public static partial nint nibble_last_error();

    [LibraryImport(Library)]
    public static partial int nibble_set_num_threads(int threads);

    [LibraryImport(Library)]
    public static partial int nibble_get_num_threads();

    [LibraryImport(Library)]
    public static partial int nibble_best_isa();

    [LibraryImport(Library)]
    public static partial int nibble_get_isa();

    [LibraryImport(Library)]
    public static partial int nibble_set_isa(int isa);

    [LibraryImport(Library)]
    public static partial nint nibble_nf4_code();

    [LibraryImport(Library)]
    public static partial nint nibble_dynamic_map_signed();

    [LibraryImport(Library)]
    public static partial int nibble_nf4_quantize(nint device, int dtype, nint src, long count, nint packed, nint absmax);

    [LibraryImport(Library)]
    public static partial int nibble_nf4_quantize_absmax(nint absmax, long blocks, nint codes, nint nestedAbsmax, float* offset);

    [LibraryImport(Library)]
    public static partial int nibble_nf4_turns(long rows, long cols);

    [LibraryImport(Library)]
    public static partial int nibble_nf4_turn(long rows, long cols, nint packed, nint absmax, nint absmaxCodes);

    [LibraryImport(Library)]
    public static partial int nibble_nf4_turn_back(long rows, long cols, nint packed, nint absmax, nint absmaxCodes);

    [LibraryImport(Library)]
    public static partial int nibble_dequantize(nint device, Weight* weight, int dtype, nint dst);

    [LibraryImport(Library)]
    public static partial int nibble_linear_forward(nint device, Weight* weight, nint bias, Lora* lora, int dtype, nint x, nint residual, long m, nint y, nint loraHidden);

    [LibraryImport(Library)]
    public static partial int nibble_linear_backward(
        nint device, Weight* weight, Lora* lora, int dtype, nint x, nint loraHidden, nint dy, nint residual, long m, nint dx, nint da, nint db);

    [LibraryImport(Library)]
    public static partial int nibble_rms_norm_forward(
        nint device, int dtype, nint x, nint update, nint weight, long rows, long cols, float eps, nint sum, nint y, nint invRms);

    [LibraryImport(Library)]
    public static partial int nibble_rms_norm_backward(
        nint device, int dtype, nint x, nint weight, nint invRms, nint dy, nint residual, long rows, long cols, nint dx, nint dweight);

    [LibraryImport(Library)]
    public static partial int nibble_rope(
        nint device, int dtype, nint x, nint cos, nint sin, long tokens, long heads, long headDim, long rotaryDim, int inverse, nint y);

    [LibraryImport(Library)]
    public static partial int nibble_swiglu_forward(nint device, int dtype, nint gate, nint up, long count, nint y);

    [LibraryImport(Library)]
    public static partial int nibble_swiglu_backward(nint device, int dtype, nint gate, nint up, nint dy, long count, nint dgate, nint dup);

    [LibraryImport(Library)]
    public static partial int nibble_attention_forward(Attention* attention, int dtype, nint query, nint key, nint value, nint output, nint logSumExp);

    [LibraryImport(Library)]
    public static partial int nibble_attention_backward(
        Attention* attention, int dtype, nint query, nint key, nint value, nint output, nint logSumExp, nint doutput, nint dquery, nint dkey, nint dvalue);

    [LibraryImport(Library)]
    public static partial int nibble_linear_cross_entropy_forward(
        nint device, Weight* head, int dtype, nint hidden, nint labels, long tokens, nint loss, nint logSumExp, nint unitDhidden);

    [LibraryImport(Library)]
    public static partial int nibble_linear_cross_entropy_backward(
        nint device, Weight* head, int dtype, nint hidden, nint labels, long tokens, nint logSumExp, nint lossGrad, nint dhidden, nint dhead);

    [LibraryImport(Library)]
    public static partial int nibble_adamw_step_32bit(nint device, AdamW* config, nint param, nint grad, nint moment1, nint moment2, long count);

    [LibraryImport(Library)]
    public static partial int nibble_adamw_init_8bit(nint codes1, nint codes2, nint absmax1, nint absmax2, long count);

    [LibraryImport(Library)]
    public static partial int nibble_adamw_step_8bit(
        nint device, AdamW* config, nint param, nint grad, nint codes1, nint codes2, nint absmax1, nint absmax2, long count);

    [LibraryImport(Library)]
    public static partial int nibble_adamw_step_32bit_bf16(
        nint device, AdamW* config, Rounding* rounding, nint param, int gradDtype, nint grad, nint moment1, nint moment2, long count);

    [LibraryImport(Library)]
    public static partial int nibble_adamw_step_8bit_bf16(
        nint device, AdamW* config, Rounding* rounding, nint param, int gradDtype, nint grad, nint codes1, nint codes2, nint absmax1, nint absmax2, long count);
}
