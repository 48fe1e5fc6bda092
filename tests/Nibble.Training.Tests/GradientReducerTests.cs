using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Training.Distributed;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

/// <summary>What is sent of gradients, by a process that is alone.</summary>
public class GradientReducerTests
{
    [Theory]
    [InlineData(1, false, 1, ScalarType.BFloat16)]
    [InlineData(1, false, 2, ScalarType.Float32)] // The passes before were added up.
    [InlineData(1, true, 2, ScalarType.BFloat16)]
    [InlineData(2, false, 2, ScalarType.BFloat16)]
    public void Gradients_in_bfloat16_are_sent_as_they_are_and_added_up_in_float32(int stage, bool eachPass, int passes, ScalarType sent)
    {
        using DisposeScope scope = NewDisposeScope();
        var world = new Recorder();
        Parameter[] parameters = Weights(1);
        (FlatLayout layout, Dictionary<Bucket, ShardedBucket> shares) = Shared(parameters, world);
        var gradients = new GradientReducer(world, layout, parameters, stage, eachPass, overlaps: true, shares);
        float sum = 0;
        for (int pass = 1; pass <= passes; pass++)
        {
            float value = MathF.Pow(2, -9 * pass); // Together they do not fit into bfloat16.
            gradients.BeginPass(last: pass == passes);
            parameters[0].Value.grad = full(parameters[0].Value.shape, value, ScalarType.BFloat16);
            gradients.EndPass();
            sum += value;
        }

        Assert.Equal(stage > 1 || eachPass ? passes : 1, world.Sent.Count);
        Assert.All(world.Sent, dtype => Assert.Equal(sent, dtype));
        Tensor share = Assert.Single(shares.Values.SelectMany(bucket => bucket.Slices)).Part.Value.grad!;
        Assert.Equal(ScalarType.Float32, share.dtype);
        Assert.All(share.data<float>().ToArray(), value => Assert.Equal(sum, value));
    }

    [Theory]
    [InlineData(true, 1)]
    [InlineData(false, 0)]
    public void One_bucket_is_under_way_while_the_next_is_made_and_never_two(bool overlaps, int underWay)
    {
        using DisposeScope scope = NewDisposeScope();
        var world = new Recorder();
        Parameter[] parameters = Weights(3);
        (FlatLayout layout, Dictionary<Bucket, ShardedBucket> shares) = Shared(parameters, world);
        var gradients = new GradientReducer(world, layout, parameters, stage: 2, eachPass: false, overlaps, shares);
        gradients.BeginPass(last: true);
        for (int unit = 2; unit >= 0; unit--)
        {
            parameters[unit].Value.grad = ones_like(parameters[unit].Value);
            gradients.UnitFinished(unit);
            Assert.Equal(underWay, world.UnderWay);
        }

        gradients.EndPass();
        Assert.Equal((0, 1), (world.UnderWay, world.Most));
        Assert.Equal(3, world.Sent.Count);
    }

    /// <summary>A weight of each unit.</summary>
    private static Parameter[] Weights(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new Parameter($"weight {i}", zeros(4, 256, ScalarType.BFloat16).requires_grad_(), Decays: true))];

    private static (FlatLayout Layout, Dictionary<Bucket, ShardedBucket> Shares) Shared(Parameter[] parameters, ICommunicator world)
    {
        var layout = new FlatLayout([.. parameters.Select((parameter, unit) => new FlatParameter(parameter.Value.NumberOfElements, unit, ScalarType.BFloat16))], ranks: 1, bucketElements: 1);
        return (layout, layout.Buckets.ToDictionary(bucket => bucket, bucket => new ShardedBucket(
            world, layout, bucket, parameters, masters: true, CPU, (length, dtype) => zeros(length, dtype), _ => throw new InvalidOperationException("All values are there."))));
    }

    /// <summary>Notes what is summed.</summary>
    private sealed class Recorder : ICommunicator
    {
        private readonly SingleProcess alone = new();

        public int Rank => 0;

        public int Size => 1;

        public List<ScalarType> Sent { get; } = [];

        public int UnderWay { get; private set; }

        public int Most { get; private set; }

        public void LimitWaits(TimeSpan limit)
        {
        }

        public ICollective AllReduce(Tensor values) => alone.AllReduce(values);

        public ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share)
        {
            Sent.Add(values.dtype);
            Most = Math.Max(Most, ++UnderWay);
            alone.ReduceScatter(values, counts, share).Wait();
            return new Pending(this);
        }

        public ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all) => alone.AllGather(share, counts, all);

        public ICollective Broadcast(Tensor values) => alone.Broadcast(values);

        public ICollective Barrier() => alone.Barrier();

        private sealed class Pending(Recorder world) : ICollective
        {
            public void Wait() => world.UnderWay--;
        }
    }
}
