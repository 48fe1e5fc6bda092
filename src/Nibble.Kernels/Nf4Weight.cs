using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// A weight in NF4 (QLoRA, arXiv:2305.14314), bit-compatible with bitsandbytes: four bits an element in blocks of 64 of the
/// flattened matrix, first element in the high nibble, with one scale (absmax) a block, itself in eight bits when double-quantised.
/// In memory it has the order that the machine's kernels read fastest.
/// </summary>
public sealed class Nf4Weight : LinearWeight
{
    private readonly Tensor packed;
    private readonly Tensor? absmax;
    private readonly Tensor? absmaxCodes;
    private readonly bool turned;

    private Nf4Weight(
        long outFeatures, long inFeatures, Tensor packed, Tensor? absmax, Tensor? absmaxCodes, Tensor? nestedAbsmax, float absmaxOffset)
        : base(outFeatures, inFeatures)
    {
        this.packed = packed;
        this.absmax = absmax;
        this.absmaxCodes = absmaxCodes;
        NestedAbsmax = nestedAbsmax;
        AbsmaxOffset = absmaxOffset;
        if (packed.device_type == DeviceType.CPU && CudaDevice.Of(packed) is null && NativeMethods.nibble_nf4_turns(outFeatures, inFeatures) != 0)
        {
            LibNibble.Check(NativeMethods.nibble_nf4_turn(
                outFeatures, inFeatures, TensorMemory.Address(packed, "packed"), AddressOrNull(absmax), AddressOrNull(absmaxCodes)));
            turned = true;
        }
    }

    /// <summary>Scales of the codes: float32 <c>[ceil(blocks / 256)]</c>; null unless double-quantised.</summary>
    public Tensor? NestedAbsmax { get; }

    /// <summary>The mean of the scales, subtracted before their quantisation.</summary>
    public float AbsmaxOffset { get; }

    /// <inheritdoc/>
    public override long Bytes =>
        packed.NumberOfElements + (4 * (absmax?.NumberOfElements ?? 0)) + (absmaxCodes?.NumberOfElements ?? 0) + (4 * (NestedAbsmax?.NumberOfElements ?? 0));

    /// <summary>Takes over the parts of a weight with plain float32 scales, and may put their elements into another order.</summary>
    public static Nf4Weight FromParts(long outFeatures, long inFeatures, Tensor packed, Tensor absmax)
    {
        Require(packed, ScalarType.Byte, PackedBytes(outFeatures, inFeatures), "packed");
        Require(absmax, ScalarType.Float32, Nf4.Blocks(outFeatures, inFeatures), "absmax");
        return new Nf4Weight(outFeatures, inFeatures, packed, absmax, null, null, 0);
    }

    /// <summary>Takes over the parts of a double-quantised weight, and may put their elements into another order.</summary>
    public static Nf4Weight FromParts(
        long outFeatures, long inFeatures, Tensor packed, Tensor absmaxCodes, Tensor nestedAbsmax, float absmaxOffset)
    {
        long blocks = Nf4.Blocks(outFeatures, inFeatures);
        Require(packed, ScalarType.Byte, PackedBytes(outFeatures, inFeatures), "packed");
        Require(absmaxCodes, ScalarType.Byte, blocks, "absmax codes");
        Require(nestedAbsmax, ScalarType.Float32, (blocks + Nf4.AbsmaxBlock - 1) / Nf4.AbsmaxBlock, "nested absmax");
        return new Nf4Weight(outFeatures, inFeatures, packed, null, absmaxCodes, nestedAbsmax, absmaxOffset);
    }

    /// <summary>Two elements a byte, in the order of bitsandbytes: uint8 <c>[ceil(N·K / 2)]</c>, a copy or the weight's own memory, to be read.</summary>
    public Tensor Packed() => InRows(packed, copy => NativeMethods.nibble_nf4_turn_back(OutFeatures, InFeatures, copy, 0, 0));

    /// <summary>
    /// The scales in the order of bitsandbytes, <c>[ceil(N·K / 64)]</c>, likewise to be read: float32, or when double-quantised uint8,
    /// codes of absmax - offset in the signed dynamic map.
    /// </summary>
    public Tensor Scales() => absmaxCodes is null
        ? InRows(absmax!, copy => NativeMethods.nibble_nf4_turn_back(OutFeatures, InFeatures, 0, copy, 0))
        : InRows(absmaxCodes, copy => NativeMethods.nibble_nf4_turn_back(OutFeatures, InFeatures, 0, 0, copy));

    /// <inheritdoc/>
    public override Tensor Dequantize(ScalarType dtype)
    {
        Tensor result = empty(OutFeatures, InFeatures, dtype, packed.device);
        DequantizeInto(result);
        return result;
    }

    /// <summary>Fills a tensor of the weight's shape.</summary>
    internal unsafe void DequantizeInto(Tensor result)
    {
        using KernelCall call = KernelCall.On(packed, "Dequantize");
        NativeMethods.Weight view = View(call);
        call.Check(NativeMethods.nibble_dequantize(call.Device, &view, (int)DTypes.Of(result.dtype), call.Address(result, "result")));
    }

    internal override NativeMethods.Weight View(in KernelCall call) => new()
    {
        Rows = OutFeatures,
        Cols = InFeatures,
        Format = turned ? 4 : 3,
        AbsmaxOffset = AbsmaxOffset,
        Data = call.Address(packed, "packed"),
        Absmax = call.AddressOrNull(absmax, "absmax"),
        AbsmaxCodes = call.AddressOrNull(absmaxCodes, "absmax codes"),
        NestedAbsmax = call.AddressOrNull(NestedAbsmax, "nested absmax"),
    };

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        packed.Dispose();
        absmax?.Dispose();
        absmaxCodes?.Dispose();
        NestedAbsmax?.Dispose();
    }

    private Tensor InRows(Tensor part, Func<nint, int> turnBack)
    {
        if (!turned)
        {
            return part.detach();
        }

        Tensor copy = part.clone();
        LibNibble.Check(turnBack(TensorMemory.Address(copy, "part")));
        return copy;
    }

    private static nint AddressOrNull(Tensor? part) => part is null ? 0 : TensorMemory.Address(part, "scales");

    private static long PackedBytes(long outFeatures, long inFeatures) => ((outFeatures * inFeatures) + 1) / 2;

    private static void Require(Tensor part, ScalarType dtype, long count, string name)
    {
        if (part.dtype != dtype || part.NumberOfElements != count)
        {
            throw new ArgumentException($"NF4 part '{name}': expected {count} x {dtype}, found {part.NumberOfElements} x {part.dtype}.");
        }
    }
}
