using Nibble.Bench.Distributed;

namespace Nibble.Bench.Tests;

/// <summary>Against numbers worked out by hand.</summary>
public class SimulationTests
{
    [Theory]
    [InlineData(0, 4, 16, 6, 6)]
    [InlineData(1, 4, 7, 4.5, 3)]
    [InlineData(2, 4, 5.5, 4.5, 3)]
    [InlineData(3, 4, 4, 6, 4.5)]
    [InlineData(3, 1, 16, 0, 0)]
    public void A_stage_keeps_and_sends_what_its_formula_says(int stage, int processes, double kept, double sentInFloat32, double sentInBfloat16)
    {
        Assert.Equal(kept, ZeroFormula.BytesPerParameter(stage, processes), 12);
        Assert.Equal(sentInFloat32, ZeroFormula.SentPerParameter(stage, processes, gradient: 4), 12);
        Assert.Equal(sentInBfloat16, ZeroFormula.SentPerParameter(stage, processes, gradient: 2), 12);
    }

    [Fact]
    public void A_step_takes_computing_and_what_of_the_transfers_does_not_fit_beside_it()
    {
        var model = new ModelShape("tiny", Parameters: 1e9, Layers: 10);
        var cluster = new Cluster(FlopsPerGpu: 8e12, Node: 4, InsideBytesPerSecond: 6e9, BetweenBytesPerSecond: 3e9, Latency: 0.001);

        // 8 x 1e9 x 1000 / 8e12 = 1 s. 4.5 GB at 6 GB/s = 0.75 s, and 10 x 2 x 3 messages of 1 ms = 0.06 s; half a second of it is hidden.
        StepTime inside = cluster.Step(model, stage: 1, gpus: 4, tokensPerGpu: 1000, overlap: 0.5);
        Assert.Equal(1, inside.Compute, 12);
        Assert.Equal(0.81, inside.Transfer, 12);
        Assert.Equal(1.31, inside.Whole, 12);
        Assert.Equal(1 / 1.31, inside.Efficiency, 12);

        // 8 x 7/8 = 7 GB at 3 GB/s, and 10 x 3 x 7 messages.
        Assert.Equal((7.0 / 3) + 0.21, cluster.Step(model, stage: 3, gpus: 8, tokensPerGpu: 1000, overlap: 0).Transfer, 12);
        Assert.Equal(1, cluster.Step(model, stage: 1, gpus: 4, tokensPerGpu: 1000, overlap: 1).Whole, 12);
    }
}
