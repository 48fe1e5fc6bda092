using Nibble.Kernels.Cuda;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Tests;

/// <summary>Every operator through the CUDA path, on the emulated chips, against the CPU path: results and gradients.</summary>
public class EmulatedOperatorTests
{
    public static TheoryData<int, ScalarType> ChipsAndTypes()
    {
        var data = new TheoryData<int, ScalarType>();
        for (int gpu = 0; gpu < EmulatedCuda.Gpus; gpu++)
        {
            data.Add(gpu, ScalarType.Float32);
            data.Add(gpu, ScalarType.BFloat16);
            data.Add(gpu, ScalarType.Float16);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(ChipsAndTypes))]
    public void Linear_layers_agree_with_the_CPU(int gpu, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor values = Random(96, 80) * 0.1;
        using LinearWeight plain = Nf4.Quantize(values, doubleQuantize: false);
        using LinearWeight nested = Nf4.Quantize(values, doubleQuantize: true);
        using LinearWeight dense = new DenseWeight(values.to(dtype));
        Tensor bias = Random(96).to(dtype);
        (Tensor a, Tensor b) = (Random(4, 80), Random(96, 4));
        var mask = new DropoutMask(0.25f, 7, 3, 2);
        foreach (int tokens in new[] { 1, 3, 21 })
        {
            (Tensor x, Tensor dy) = (Random(tokens, 80).to(dtype), Random(tokens, 96).to(dtype));
            foreach (LinearWeight weight in new[] { plain, nested, dense })
            {
                AssertAgrees(gpu, dtype, leaves => [Linear.Apply(leaves[0], new Projection(weight, bias), leaves[1])], [x, dy], [dy]);
                AssertAgrees(
                    gpu,
                    dtype,
                    leaves => [.. Linear.Apply(leaves[0], [new Projection(weight, bias), new Projection(weight, null, new LowRank(leaves[1], leaves[2], 0.5f, mask))])],
                    [x, a, b],
                    [dy, dy]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(ChipsAndTypes))]
    public void Norm_rotary_embedding_and_activation_agree_with_the_CPU(int gpu, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        AssertAgrees(gpu, dtype, leaves => [RmsNorm.Apply(leaves[0], leaves[1], 1e-5f)], [Random(9, 72).to(dtype), Random(72)], [Random(9, 72).to(dtype)]);
        AssertAgrees(
            gpu,
            dtype,
            leaves =>
            {
                (Tensor sum, Tensor normed) = RmsNorm.ApplyToSum(leaves[0], leaves[1], leaves[2], 1e-5f);
                return [sum, normed];
            },
            [Random(9, 72).to(dtype), Random(9, 72).to(dtype), Random(72)],
            [Random(9, 72).to(dtype), Random(9, 72).to(dtype)]);
        (Tensor cos, Tensor sin) = (Random(5, 4).cos(), Random(5, 4).sin());
        AssertAgrees(gpu, dtype, leaves => [Rope.Apply(leaves[0], cos, sin)], [Random(5, 3, 12).to(dtype)], [Random(5, 3, 12).to(dtype)]);
        AssertAgrees(
            gpu, dtype, leaves => [SwiGlu.Apply(leaves[0], leaves[1])], [Random(7, 50).to(dtype), Random(7, 50).to(dtype)], [Random(7, 50).to(dtype)]);
    }

    [Theory]
    [MemberData(nameof(ChipsAndTypes))]
    public void The_loss_agrees_with_the_CPU(int gpu, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = Random(6, 64).to(dtype);
        Tensor labels = tensor(new long[] { 3, -100, 0, 99, 41, 7 });
        using LinearWeight frozen = Nf4.Quantize(Random(100, 64) * 0.1, doubleQuantize: true);
        AssertAgrees(gpu, dtype, leaves => [LinearCrossEntropy.Apply(leaves[0], frozen, labels)], [hidden], [Random(6)]);
        AssertAgrees(
            gpu, dtype, leaves => [LinearCrossEntropy.Apply(leaves[0], new DenseWeight(leaves[1]), labels)], [hidden, Random(100, 64) * 0.1], [Random(6)]);
    }

    [Theory]
    [MemberData(nameof(ChipsAndTypes))]
    public void Quantisation_gives_the_bits_of_the_CPU(int gpu, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor values = Random(33, 70).to(dtype);
        CudaDevice device = EmulatedCuda.Open(gpu, out DriverWitness witness);
        using Nf4Weight expected = Nf4.Quantize(values, doubleQuantize: true);
        using (new EmulatedGpu(device))
        {
            using Nf4Weight found = Nf4.Quantize(values, doubleQuantize: true);
            Assert.Equal(expected.Packed().bytes.ToArray(), found.Packed().bytes.ToArray());
            Assert.Equal(expected.Scales().bytes.ToArray(), found.Scales().bytes.ToArray());
            Assert.Equal(expected.AbsmaxOffset, found.AbsmaxOffset);
            Tensor back = found.Dequantize(dtype);
            Assert.Equal(2, witness.Calls(nameof(ICudaDriver.LaunchKernel)));
            Assert.Equal(0, (back - expected.Dequantize(dtype)).abs().max().to(ScalarType.Float32).item<float>());
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void Optimizer_steps_agree_with_the_CPU(int gpu)
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(gpu, out _);
        Tensor initial = Random(1000);
        Tensor[] gradients = [Random(1000), Random(1000), Random(1000)];
        Tensor[] expected = Run();
        using (new EmulatedGpu(device))
        {
            Assert.All(expected.Zip(Run()), pair => AssertClose(pair.First, pair.Second, 1e-6));
        }

        Tensor[] Run()
        {
            (Tensor dense, Tensor coded) = (initial.clone(), initial.clone());
            (Tensor moment1, Tensor moment2) = (zeros(1000), zeros(1000));
            AdamW.EightBitState state = AdamW.EightBitState.Zero(1000);
            for (int step = 1; step <= gradients.Length; step++)
            {
                Tensor gradient = gradients[step - 1];
                var update = new AdamW(1e-2, 0.9, 0.999, 1e-8, 0.1, 0.5, step);
                update.Update(dense, gradient, moment1, moment2);
                update.Update(coded, gradient, state);
            }

            return [dense, moment1, moment2, coded, state.Absmax1, state.Absmax2];
        }
    }

    private static Tensor Random(params long[] shape) => randn(shape);

    /// <summary>Compares results and gradients of both paths, and sees that the second launched kernels both ways.</summary>
    private static void AssertAgrees(int gpu, ScalarType dtype, Func<Tensor[], Tensor[]> operation, Tensor[] inputs, Tensor[] gradients)
    {
        CudaDevice device = EmulatedCuda.Open(gpu, out DriverWitness witness);
        Tensor[] expected = Run(out _);
        Tensor[] found;
        int forward;
        using (new EmulatedGpu(device))
        {
            found = Run(out forward);
        }

        Assert.True(forward > 0, "no kernel was launched forward");
        Assert.True(witness.Calls(nameof(ICudaDriver.LaunchKernel)) > forward, "no kernel was launched backward");
        double tolerance = dtype == ScalarType.Float32 ? 1e-5 : dtype == ScalarType.Float16 ? 4e-3 : 3e-2;
        Assert.All(expected.Zip(found), pair => AssertClose(pair.First, pair.Second, tolerance));

        Tensor[] Run(out int launches)
        {
            Tensor[] leaves = [.. inputs.Select(input => input.detach().clone().requires_grad_())];
            Tensor[] outputs = operation(leaves);
            launches = witness.Calls(nameof(ICudaDriver.LaunchKernel));
            Assert.Equal(gradients.Length, outputs.Length);
            BackwardPass.Run(outputs.Zip(gradients, (output, gradient) => (output * gradient).sum(ScalarType.Float32)).Aggregate((sum, term) => sum + term));
            return [.. outputs.Select(output => output.detach()), .. leaves.Select(leaf => leaf.grad!)];
        }
    }

    private static void AssertClose(Tensor expected, Tensor found, double tolerance)
    {
        Assert.Equal(expected.dtype, found.dtype);
        Tensor reference = expected.to(ScalarType.Float64);
        double error = (reference - found.to(ScalarType.Float64)).abs().max().item<double>();
        Assert.True(error <= tolerance * (1 + reference.abs().max().item<double>()), $"differs by {error}");
    }
}
