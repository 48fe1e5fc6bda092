using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Tests;

public sealed class Nf4WeightTests
{
    /// <summary>The second has no rows in thirty-twos, and keeps its order on every machine.</summary>
    [Theory]
    [InlineData(64, 320)]
    [InlineData(33, 320)]
    public void A_weight_gives_its_parts_back_as_they_came(long rows, long columns)
    {
        using DisposeScope scope = NewDisposeScope();
        long blocks = Nf4.Blocks(rows, columns);
        Tensor packed = randint(0, 256, [rows * columns / 2], ScalarType.Byte);
        Tensor absmax = rand(blocks);
        using (var plain = Nf4Weight.FromParts(rows, columns, packed.clone(), absmax.clone()))
        {
            Assert.Equal(packed.bytes.ToArray(), plain.Packed().bytes.ToArray());
            Assert.Equal(absmax.bytes.ToArray(), plain.Scales().bytes.ToArray());
        }

        Tensor codes = randint(0, 256, [blocks], ScalarType.Byte);
        Tensor nested = rand((blocks + Nf4.AbsmaxBlock - 1) / Nf4.AbsmaxBlock);
        using var weight = Nf4Weight.FromParts(rows, columns, packed.clone(), codes.clone(), nested.clone(), 0.5f);
        Assert.Equal(packed.bytes.ToArray(), weight.Packed().bytes.ToArray());
        Assert.Equal(codes.bytes.ToArray(), weight.Scales().bytes.ToArray());
        Assert.Equal(nested.bytes.ToArray(), weight.NestedAbsmax!.bytes.ToArray());
        Assert.Equal(0.5f, weight.AbsmaxOffset);
    }

    [Fact]
    public void Values_are_those_of_the_parts_whatever_order_the_machine_keeps_them_in()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor packed = randint(0, 256, [64 * 320 / 2], ScalarType.Byte);
        Tensor absmax = rand(Nf4.Blocks(64, 320));
        using var weight = Nf4Weight.FromParts(64, 320, packed.clone(), absmax.clone());
        Tensor codes = stack([packed.bitwise_right_shift(4), packed.bitwise_and(15)], -1).view(-1, Nf4.Block).to(ScalarType.Int64);
        Tensor expected = (Nf4.Code()[codes] * absmax.unsqueeze(1)).view(64, 320);
        Assert.Equal(expected.bytes.ToArray(), weight.Dequantize(ScalarType.Float32).bytes.ToArray());
    }
}
