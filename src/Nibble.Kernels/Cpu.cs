using Nibble.Kernels.Runtime;
using TorchSharp;

namespace Nibble.Kernels;

/// <summary>What the CPU kernels run on.</summary>
public static class Cpu
{
    /// <summary>Instruction sets, each containing the ones before it.</summary>
    public enum InstructionSet
    {
        /// <summary>Portable C++.</summary>
        Portable = 0,

        /// <summary>AVX2, FMA and F16C.</summary>
        Avx2 = 1,

        /// <summary>AVX-512 F, BW, DQ and VL.</summary>
        Avx512 = 2,

        /// <summary>AVX-512 with BF16 dot products and look-ups of bytes (VBMI).</summary>
        Avx512Bf16 = 3,
    }

    /// <summary>The best instruction set of this machine.</summary>
    public static InstructionSet Best => (InstructionSet)NativeMethods.nibble_best_isa();

    /// <summary>The instruction set in use; any up to <see cref="Best"/> may be chosen.</summary>
    public static InstructionSet Current
    {
        get => (InstructionSet)NativeMethods.nibble_get_isa();
        set => LibNibble.Check(NativeMethods.nibble_set_isa((int)value));
    }

    /// <summary>Threads that kernels and libtorch use; results are deterministic for a fixed number.</summary>
    public static int Threads
    {
        get => NativeMethods.nibble_get_num_threads();
        set
        {
            LibNibble.Check(NativeMethods.nibble_set_num_threads(value));
            torch.set_num_threads(value);
        }
    }
}
