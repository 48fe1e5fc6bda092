using Nibble.Kernels.Autograd;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Tests;

/// <summary>The autograd functions against libtorch's own operators in float64 or float32.</summary>
public class OperatorTests
{
    [Fact]
    public void An_adapted_linear_layer_has_the_output_and_gradients_of_the_formula()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(5, 172).requires_grad_();
        using Nf4Weight weight = Nf4.Quantize(randn(64, 172) * 0.1, doubleQuantize: true);
        Tensor a = randn(4, 172).requires_grad_();
        Tensor b = randn(64, 4).requires_grad_();
        Tensor dy = randn(5, 64);
        BackwardPass.Run(Linear.Apply(x, weight, null, new LowRank(a, b, 0.5f)), dy);

        Tensor x2 = x.detach().clone().requires_grad_();
        Tensor a2 = a.detach().clone().requires_grad_();
        Tensor b2 = b.detach().clone().requires_grad_();
        Tensor y2 = x2.matmul(weight.Dequantize(ScalarType.Float32).T) + (0.5 * x2.matmul(a2.T).matmul(b2.T));
        y2.backward([dy]);
        AssertClose(x2.grad!, x.grad!);
        AssertClose(a2.grad!, a.grad!);
        AssertClose(b2.grad!, b.grad!);
    }

    [Fact]
    public void Layers_of_one_input_have_the_outputs_and_gradients_of_each_alone()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(7, 128).requires_grad_();
        using Nf4Weight bare = Nf4.Quantize(randn(64, 128) * 0.1, doubleQuantize: true);
        using Nf4Weight adapted = Nf4.Quantize(randn(96, 128) * 0.1, doubleQuantize: false);
        using var dense = new DenseWeight(randn(32, 128));
        Tensor[] matrices = [.. new[] { randn(4, 128), randn(96, 4), randn(4, 128), randn(32, 4) }.Select(matrix => matrix.requires_grad_())];
        Projection[] projections =
        [
            new(bare, randn(64)),
            new(adapted, null, new LowRank(matrices[0], matrices[1], 0.5f, new DropoutMask(0.3f, 1, 2, 3))),
            new(dense, randn(32), new LowRank(matrices[2], matrices[3], 2, new DropoutMask(0.3f, 1, 2, 4))),
        ];
        Tensor[] gradients = [randn(7, 64), randn(7, 96), randn(7, 32)];

        Tensor[] alone = [.. projections.Select(projection => Linear.Apply(x, projection))];
        autograd.backward(alone, gradients);
        float[][] expected = [.. alone.Concat(matrices.Select(matrix => matrix.grad!)).Select(Values)];
        Tensor expectedGradient = x.grad!;
        x.grad = null;
        Array.ForEach(matrices, matrix => matrix.grad = null);

        IReadOnlyList<Tensor> together = Linear.Apply(x, projections);
        autograd.backward([.. together], gradients);
        Assert.Equal(expected, together.Concat(matrices.Select(matrix => matrix.grad!)).Select(Values));
        AssertClose(expectedGradient, x.grad!);

        using (no_grad())
        {
            Assert.Equal(expected[..3], Linear.Apply(x, projections).Select(Values));
        }
    }

    [Fact]
    public void A_layer_adds_to_a_residual_stream_and_hands_it_the_gradient_of_the_sum()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(7, 128).requires_grad_();
        Tensor stream = randn(7, 64).requires_grad_();
        Tensor dy = randn(7, 64);
        using Nf4Weight weight = Nf4.Quantize(randn(64, 128) * 0.1, doubleQuantize: true);
        foreach (LowRank? update in new[] { null, new LowRank(randn(4, 128), randn(64, 4), 0.5f) })
        {
            var projection = new Projection(weight, randn(64), update);
            using Scalar one = 1;
            (x.grad, stream.grad) = (null, null);
            Tensor apart = stream.add(Linear.Apply(x, projection), one);
            BackwardPass.Run(apart, dy);
            Tensor gradient = x.grad!;

            (x.grad, stream.grad) = (null, null);
            Tensor together = Linear.Apply(x, projection, stream);
            BackwardPass.Run(together, dy);
            AssertClose(apart, together);
            Assert.Equal(Values(gradient), Values(x.grad!));
            Assert.Equal(Values(dy), Values(stream.grad!));
        }

        string message = Assert.Throws<ArgumentException>(() => Linear.Apply(x, new Projection(weight), randn(64, 7))).Message;
        Assert.Equal("Expected a residual of Float32 [7, 64], found Float32 [64, 7].", message);
    }

    [Fact]
    public void Recomputation_gives_the_gradients_of_the_plain_layer_to_the_bit()
    {
        using DisposeScope scope = NewDisposeScope();
        using Nf4Weight weight = Nf4.Quantize(randn(64, 64) * 0.1, doubleQuantize: false);
        Tensor a = randn(4, 64).requires_grad_();
        Tensor b = randn(64, 4).requires_grad_();
        Tensor x = randn(7, 64).requires_grad_();
        var update = new LowRank(a, b, 1, new DropoutMask(0.3f, 1, 2, 3));
        Tensor Layer(Tensor input) => SwiGlu.Apply(Linear.Apply(input, weight, null, update), input);

        BackwardPass.Run(Layer(x).sum());
        float[][] plain = [Values(x.grad!), Values(a.grad!), Values(b.grad!)];
        (x.grad, a.grad, b.grad) = (null, null, null);
        BackwardPass.Run(Recompute.Apply(x, (input, _) => Layer(input)).sum());
        Assert.Equal(plain[0], Values(x.grad!));
        Assert.Equal(plain[1], Values(a.grad!));
        Assert.Equal(plain[2], Values(b.grad!));
    }

    [Fact]
    public void A_layer_whose_last_product_is_left_out_of_the_recomputation_has_the_same_gradients_to_the_bit()
    {
        using DisposeScope scope = NewDisposeScope();
        using Nf4Weight weight = Nf4.Quantize(randn(64, 64) * 0.1, doubleQuantize: false);
        Tensor a = randn(4, 64).requires_grad_();
        Tensor b = randn(64, 4).requires_grad_();
        Tensor x = randn(7, 64).requires_grad_();
        foreach (LowRank? last in new[] { null, new LowRank(b.t().contiguous().detach(), a.t().contiguous().detach(), 0.5f) })
        {
            Tensor Layer(Tensor input, bool needed) =>
                Linear.Apply(Linear.Apply(input, weight, null, new LowRank(a, b, 1)), new Projection(weight, null, last), residual: input, outputNeeded: needed);

            (x.grad, a.grad, b.grad) = (null, null, null);
            BackwardPass.Run(Layer(x, true).sum());
            float[][] plain = [Values(x.grad!), Values(a.grad!), Values(b.grad!)];
            (x.grad, a.grad, b.grad) = (null, null, null);
            BackwardPass.Run(Recompute.Apply(x, Layer).sum());
            Assert.Equal(plain, [Values(x.grad!), Values(a.grad!), Values(b.grad!)]);

            // Parameters learn, and x does not, where nobody needs its gradient.
            (x.grad, a.grad, b.grad) = (null, null, null);
            BackwardPass.Run(Recompute.Apply(x, Layer, inputGradient: false).sum());
            Assert.Null(x.grad);
            Assert.Equal(plain[1..], [Values(a.grad!), Values(b.grad!)]);
        }
    }

    [Fact]
    public void A_layer_may_give_back_its_input()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(3, 4).requires_grad_();
        BackwardPass.Run((Recompute.Apply(x * 2, (input, _) => input) * 3).sum());
        Assert.All(Values(x.grad!), value => Assert.Equal(6, value));
    }

    [Fact]
    public void An_operator_makes_no_tensor_but_its_results_and_its_backward_pass_leaves_none()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor Leaf(params long[] shape) => randn(shape).requires_grad_();
        (Tensor x, Tensor a, Tensor b, Tensor norm, Tensor heads, Tensor angles) = (Leaf(6, 64), Leaf(4, 64), Leaf(64, 4), Leaf(64), Leaf(6, 2, 8), randn(6, 4));
        using Nf4Weight weight = Nf4.Quantize(randn(64, 64) * 0.1, doubleQuantize: true);
        var adapted = new Projection(weight, null, new LowRank(a, b, 0.5f));
        Tensor labels = tensor(new long[] { 1, 2, 3, 4, 5, 6 });
        Leaves(1, () => [Linear.Apply(x, adapted, x)]);
        Leaves(2, () => Linear.Apply(x, [adapted, adapted]));
        Leaves(1, () => [RmsNorm.Apply(x, norm, 1e-5f)]);
        Leaves(2, () => Both(RmsNorm.ApplyBeside(x, norm, 1e-5f)));
        Leaves(2, () => Both(RmsNorm.ApplyToSum(x, x, norm, 1e-5f)));
        Leaves(1, () => [Rope.Apply(heads, angles, angles)]);
        Leaves(1, () => [SwiGlu.Apply(x, x)]);
        using Tensor turned = x.T;
        Leaves(1, () => [SwiGlu.Apply(turned, turned)]);
        Leaves(1, () => [CausalAttention.Apply(heads, heads, heads, [4, 2])]);
        Leaves(1, () => [LinearCrossEntropy.Apply(x, weight, labels)]);
        Leaves(1, () => [Recompute.Apply(x, (input, _) => SwiGlu.Apply(input, Linear.Apply(input, adapted)))]);

        static IReadOnlyList<Tensor> Both((Tensor First, Tensor Second) both) => [both.First, both.Second];

        static void Leaves(int results, Func<IReadOnlyList<Tensor>> operation)
        {
            long before = Live;
            IReadOnlyList<Tensor> made = operation();
            Assert.Equal(before + results, Live);
            using Tensor gradient = ones_like(made[0]);
            BackwardPass.Run(made[0], gradient);
            Assert.Equal(before + results + 1, Live);
        }
    }

    [Fact]
    public void What_a_graph_keeps_goes_with_its_results()
    {
        const long Megabyte = 1 << 20;
        long before = Environment.WorkingSet;
        for (int i = 0; i < 40; i++)
        {
            using DisposeScope scope = NewDisposeScope();
            SwiGlu.Apply(ones(2 * Megabyte).requires_grad_(), ones(2 * Megabyte));
        }

        Assert.InRange(Environment.WorkingSet - before, long.MinValue, 320 * Megabyte); // Forty times 16 would be 640.
    }

    [Fact]
    public void Functions_for_native_code_go_from_node_to_node()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor gate = randn(16).requires_grad_();
        int before = NodeFunctions.Made;
        for (int i = 0; i < 1000; i++)
        {
            using Tensor y = SwiGlu.Apply(gate, gate);
        }

        Assert.InRange(NodeFunctions.Made - before, 0, 500); // Other tests make nodes meanwhile.
    }

    [Fact]
    public void Of_a_layer_that_is_run_again_only_its_graph_is_there_in_its_backward_pass()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(4, 16).requires_grad_();
        Assert.Equal(LiveInBackward(products: 1), LiveInBackward(products: 9));

        long LiveInBackward(int products)
        {
            long live = 0;
            Tensor y = Recompute.Apply(
                x,
                (input, _) => Enumerable.Range(0, products).Aggregate(input, (value, _) => SwiGlu.Apply(value, value)),
                finished: () => live = Live);
            long before = Live;
            BackwardPass.Run(y, ones_like(y));
            return live - before;
        }
    }

    /// <summary>Tensors of this thread that nobody has disposed.</summary>
    private static long Live => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;

    [Fact]
    public void A_graph_that_is_retained_gives_its_gradients_again()
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor gate, Tensor up) = (randn(6, 16).requires_grad_(), randn(6, 16).requires_grad_());
        Tensor y = Recompute.Apply(gate, (input, _) => SwiGlu.Apply(input, up)).sum();
        y.backward(retain_graph: true);
        Tensor[] once = [gate.grad!.clone(), up.grad!.clone()];
        y.backward();
        AssertClose(once[0] * 2, gate.grad!);
        AssertClose(once[1] * 2, up.grad!);
    }

    [Fact]
    public void A_tensor_that_was_written_to_since_the_forward_pass_is_refused_in_the_backward_pass()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor gate = randn(6, 16).requires_grad_();
        Tensor up = randn(6, 16);
        Tensor y = SwiGlu.Apply(gate, up);
        up.zero_();
        Exception refused = Assert.ThrowsAny<Exception>(() => BackwardPass.Run(y.sum()));
        Assert.Contains("modified by an inplace operation", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_layer_that_nothing_came_of_learns_nothing_and_the_others_what_they_learn_alone()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(7, 128).requires_grad_();
        using Nf4Weight weight = Nf4.Quantize(randn(64, 128) * 0.1, doubleQuantize: true);
        Tensor[] matrices = [.. new[] { randn(4, 128), randn(64, 4), randn(4, 128), randn(64, 4) }.Select(matrix => matrix.requires_grad_())];
        Projection[] projections =
            [new(weight, null, new LowRank(matrices[0], matrices[1], 0.5f)), new(weight, null, new LowRank(matrices[2], matrices[3], 0.5f))];
        BackwardPass.Run(Linear.Apply(x, projections[1]).sum());
        float[][] expected = [.. new[] { x, matrices[2], matrices[3] }.Select(leaf => Values(leaf.grad!))];
        foreach (Tensor leaf in matrices.Append(x))
        {
            leaf.grad = null;
        }

        BackwardPass.Run(Linear.Apply(x, projections)[1].sum());
        Assert.Equal(expected, new[] { x, matrices[2], matrices[3] }.Select(leaf => Values(leaf.grad!)));
        Assert.Null(matrices[0].grad);
        Assert.Null(matrices[1].grad);
    }

    [Fact]
    public void A_norm_that_nothing_came_of_leaves_the_streams_gradient_as_it_is()
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor x, Tensor update, Tensor weight) = (randn(5, 32).requires_grad_(), randn(5, 32).requires_grad_(), randn(32).requires_grad_());
        Tensor dy = randn(5, 32);
        BackwardPass.Run(RmsNorm.ApplyToSum(x, update, weight, 1e-5f).Sum, dy);
        BackwardPass.Run(RmsNorm.ApplyBeside(update, weight, 1e-5f).Stream, dy);
        Assert.Equal(Values(dy), Values(x.grad!));
        AssertClose(dy * 2, update.grad!);
        Assert.Null(weight.grad);
    }

    [Fact]
    public void A_failure_inside_the_backward_pass_reaches_the_caller()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(2, 4).requires_grad_();
        int calls = 0;
        Tensor y = Recompute.Apply(x, (input, _) => ++calls == 1 ? input * 2 : throw new TimeoutException("on purpose"));
        Assert.Throws<TimeoutException>(() => BackwardPass.Run(y.sum()));
        x.grad = null;
        BackwardPass.Run(Recompute.Apply(x, (input, _) => input * 3).sum());
        Assert.Equal(3, x.grad![0, 0].item<float>());
    }

    [Fact]
    public void The_norm_of_a_sum_has_the_results_and_gradients_of_a_sum_and_a_norm()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(7, 40).requires_grad_();
        Tensor update = randn(7, 40).requires_grad_();
        Tensor weight = randn(40).requires_grad_();
        (Tensor sumGradient, Tensor normGradient) = (randn(7, 40), randn(7, 40));

        using Scalar one = 1;
        Tensor sum = x.add(update, one);
        Tensor normed = RmsNorm.Apply(sum, weight, 1e-5f);
        autograd.backward([sum, normed], [sumGradient, normGradient]);
        float[][] apart = [Values(sum), Values(normed), Values(weight.grad!)];
        float[] gradient = Values(x.grad!);
        (x.grad, update.grad, weight.grad) = (null, null, null);

        (sum, normed) = RmsNorm.ApplyToSum(x, update, weight, 1e-5f);
        autograd.backward([sum, normed], [sumGradient, normGradient]);
        Assert.Equal(apart, [Values(sum), Values(normed), Values(weight.grad!)]);
        Assert.Equal(Values(x.grad!), Values(update.grad!));
        Assert.All(gradient.Zip(Values(x.grad!)), pair => Assert.Equal(pair.First, pair.Second, 1e-5f));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_norm_of_a_sum_takes_tensors_whose_rows_do_not_follow_each_other(bool learns)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(40, 7).t().requires_grad_(learns);
        Tensor update = randn(40, 7).t();
        (Tensor sum, Tensor normed) = RmsNorm.ApplyToSum(x, update, ones(40), 1e-5f);
        (Tensor expectedSum, Tensor expected) = RmsNorm.ApplyToSum(x.contiguous(), update.contiguous(), ones(40), 1e-5f);
        Assert.Equal(Values(expectedSum), Values(sum));
        Assert.Equal(Values(expected), Values(normed));
    }

    [Fact]
    public void The_norm_beside_a_stream_sums_what_comes_back_both_ways()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = randn(7, 40).requires_grad_();
        Tensor weight = randn(40).requires_grad_();
        Tensor[] gradients = [randn(7, 40), randn(7, 40)];
        Tensor normed = RmsNorm.Apply(x, weight, 1e-5f);
        autograd.backward([normed], [gradients[1]]);
        using Scalar one = 1;
        Tensor expected = x.grad!.add(gradients[0], one);
        float[] expectedWeight = Values(weight.grad!);
        (x.grad, weight.grad) = (null, null);

        (Tensor stream, Tensor beside) = RmsNorm.ApplyBeside(x, weight, 1e-5f);
        autograd.backward([stream, beside], gradients);
        Assert.Equal(Values(x), Values(stream));
        Assert.Equal(Values(normed), Values(beside));
        Assert.Equal(expectedWeight, Values(weight.grad!));
        AssertClose(expected, x.grad!);
    }

    [Fact]
    public void An_update_that_is_not_like_the_stream_is_refused()
    {
        using DisposeScope scope = NewDisposeScope();
        string message = Assert.Throws<ArgumentException>(() => RmsNorm.ApplyToSum(randn(7, 40), randn(40, 7), ones(40), 1e-5f)).Message;
        Assert.Equal("RmsNorm needs an update like x, Float32 [7, 40], found Float32 [40, 7].", message);
    }

    [Fact]
    public void Sequences_of_a_packed_batch_do_not_see_each_other()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor q = randn(9, 4, 8);
        Tensor k = randn(9, 2, 8);
        Tensor v = randn(9, 2, 8);
        Tensor packed = CausalAttention.Apply(q, k, v, [5, 4]);
        Tensor first = CausalAttention.Apply(q.narrow(0, 0, 5), k.narrow(0, 0, 5), v.narrow(0, 0, 5), [5]);
        Tensor second = CausalAttention.Apply(q.narrow(0, 5, 4), k.narrow(0, 5, 4), v.narrow(0, 5, 4), [4]);
        AssertClose(cat([first, second], 0), packed);
    }

    [Fact]
    public void Gradients_of_a_row_that_many_tokens_have_are_summed_in_float32_whatever_the_tables_dtype()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor table = zeros(5, 3, ScalarType.BFloat16).requires_grad_();
        long[] ids = [.. Enumerable.Range(0, 3000).Select(i => i % 3 == 0 ? 4L : 1L)];
        Tensor rows = Embedding.Apply(table, tensor(ids));
        Assert.Equal([3000, 3], rows.shape);
        BackwardPass.Run(rows, ones(rows.shape, ScalarType.BFloat16));
        Assert.Equal([0, 0, 0, 2000, 2000, 2000, 0, 0, 0, 0, 0, 0, 1000, 1000, 1000], table.grad!.to(ScalarType.Float32).data<float>().ToArray());
    }

    [Fact]
    public void Refused_arguments_become_exceptions_that_name_them()
    {
        using DisposeScope scope = NewDisposeScope();
        using var weight = new DenseWeight(randn(4, 8));
        Assert.Contains("[tokens, 8]", Assert.Throws<ArgumentException>(() => Linear.Apply(randn(2, 7), weight)).Message, StringComparison.Ordinal);
        var outside = Assert.Throws<ArgumentException>(() => LinearCrossEntropy.Apply(randn(1, 8), weight, tensor(new long[] { 9 })));
        Assert.Contains("labels[0] is 9", outside.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2L, 8L)]
    [InlineData(3L, 7L)]
    [InlineData(3L, 8L, 1L)]
    public void Gates_of_another_shape_are_refused(params long[] shape) =>
        Assert.Contains("two tensors alike", Assert.Throws<ArgumentException>(() => SwiGlu.Apply(randn(3, 8), randn(shape))).Message, StringComparison.Ordinal);

    [Fact]
    public void Angles_that_are_not_the_tokens_own_are_refused()
    {
        Assert.Throws<ArgumentException>(() => Rope.Apply(randn(3, 2, 8), randn(3, 4), randn(3, 5)));
        Assert.Throws<ArgumentException>(() => Rope.Apply(randn(3, 2, 8), randn(2, 4), randn(2, 4)));
    }

    private static float[] Values(Tensor tensor) => tensor.detach().contiguous().data<float>().ToArray();

    private static void AssertClose(Tensor expected, Tensor found) =>
        Assert.True((expected - found).abs().max().item<float>() <= 1e-4 * (1 + expected.abs().max().item<float>()));
}
