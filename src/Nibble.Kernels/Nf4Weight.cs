using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// A weight in NF4 (QLoRA, arXiv:2305.14314), bit-compatible with bitsandbytes: four bits an element in blocks of 64 of the
/// flattened matrix, first element in the high nibble, with one scale (absmax) a block, itself in eight bits when double-quantised.
/// </summary>
public sealed class Nf4Weight : LinearWeight
{
    private Nf4Weight(
        long outFeatures, long inFeatures, Tensor packed, Tensor? absmax, Tensor? absmaxCodes, Tensor? nestedAbsmax, float absmaxOffset)
        : base(outFeatures, inFeatures)
    {
        Packed = packed;
        Absmax = absmax;
        AbsmaxCodes = absmaxCodes;
        NestedAbsmax = nestedAbsmax;
        AbsmaxOffset = absmaxOffset;
    }

    /// <summary>Two elements a byte: uint8 <c>[ceil(N·K / 2)]</c>.</summary>
    public Tensor Packed { get; }

    /// <summary>float32 <c>[ceil(N·K / 64)]</c>; null when double-quantised.</summary>
    public Tensor? Absmax { get; }

    /// <summary>Codes of absmax - offset in the signed dynamic map: uint8 <c>[ceil(N·K / 64)]</c>; null unless double-quantised.</summary>
    public Tensor? AbsmaxCodes { get; }

    /// <summary>Scales of the codes: float32 <c>[ceil(blocks / 256)]</c>; null unless double-quantised.</summary>
    public Tensor? NestedAbsmax { get; }

    /// <summary>The mean of the scales, subtracted before their quantisation.</summary>
    public float AbsmaxOffset { get; }

    /// <inheritdoc/>
    public override long Bytes =>
        Packed.NumberOfElements + (4 * (Absmax?.NumberOfElements ?? 0)) + (AbsmaxCodes?.NumberOfElements ?? 0) + (4 * (NestedAbsmax?.NumberOfElements ?? 0));

    /// <summary>Takes over the parts of a weight with plain float32 scales.</summary>
    public static Nf4Weight FromParts(long outFeatures, long inFeatures, Tensor packed, Tensor absmax)
    {
        Require(packed, ScalarType.Byte, PackedBytes(outFeatures, inFeatures), "packed");
        Require(absmax, ScalarType.Float32, Nf4.Blocks(outFeatures, inFeatures), "absmax");
        return new Nf4Weight(outFeatures, inFeatures, packed, absmax, null, null, 0);
    }

    /// <summary>Takes over the parts of a double-quantised weight.</summary>
    public static Nf4Weight FromParts(
        long outFeatures, long inFeatures, Tensor packed, Tensor absmaxCodes, Tensor nestedAbsmax, float absmaxOffset)
    {
        long blocks = Nf4.Blocks(outFeatures, inFeatures);
        Require(packed, ScalarType.Byte, PackedBytes(outFeatures, inFeatures), "packed");
        Require(absmaxCodes, ScalarType.Byte, blocks, "absmax codes");
        Require(nestedAbsmax, ScalarType.Float32, (blocks + Nf4.AbsmaxBlock - 1) / Nf4.AbsmaxBlock, "nested absmax");
        return new Nf4Weight(outFeatures, inFeatures, packed, null, absmaxCodes, nestedAbsmax, absmaxOffset);
    }

    /// <inheritdoc/>
    public override Tensor Dequantize(ScalarType dtype)
    {
        Tensor result = empty(OutFeatures, InFeatures, dtype, Packed.device);
        DequantizeInto(result);
        return result;
    }

    /// <summary>Fills a tensor of the weight's shape.</summary>
    internal unsafe void DequantizeInto(Tensor result)
    {
        using KernelCall call = KernelCall.On(Packed, "Dequantize");
        NativeMethods.Weight view = View(call);
        call.Check(NativeMethods.nibble_dequantize(call.Device, &view, (int)DTypes.Of(result.dtype), call.Address(result, "result")));
    }

    internal override NativeMethods.Weight View(in KernelCall call) => new()
    {
        Rows = OutFeatures,
        Cols = InFeatures,
        Format = 3,
        AbsmaxOffset = AbsmaxOffset,
        Data = call.Address(Packed, "packed"),
        Absmax = call.AddressOrNull(Absmax, "absmax"),
        AbsmaxCodes = call.AddressOrNull(AbsmaxCodes, "absmax codes"),
        NestedAbsmax = call.AddressOrNull(NestedAbsmax, "nested absmax"),
    };

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        Packed.Dispose();
        Absmax?.Dispose();
        AbsmaxCodes?.Dispose();
        NestedAbsmax?.Dispose();
    }

    private static long PackedBytes(long outFeatures, long inFeatures) => ((outFeatures * inFeatures) + 1) / 2;

    private static void Require(Tensor part, ScalarType dtype, long count, string name)
    {
        if (part.dtype != dtype || part.NumberOfElements != count)
        {
            throw new ArgumentException($"NF4 part '{name}': expected {count} x {dtype}, found {part.NumberOfElements} x {part.dtype}.");
        }
    }
}
