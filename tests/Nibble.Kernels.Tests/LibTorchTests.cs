using TorchSharp;

namespace Nibble.Kernels.Tests;

public class LibTorchTests
{
    [Fact]
    public void A_tensor_multiplies_without_any_set_up()
    {
        Nibble.Kernels.Runtime.LibTorch.EnsureLoaded();
        using torch.Tensor x = torch.ones(2, 3);
        using torch.Tensor y = x.matmul(x.T);
        Assert.Equal(3f, y[0, 0].item<float>());
    }

    [Fact]
    public void Waiting_threads_sleep_soon_unless_the_environment_says_otherwise()
    {
        Nibble.Kernels.Runtime.LibTorch.EnsureLoaded();
        bool chosen = Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is not null;
        Assert.Equal(Environment.GetEnvironmentVariable("GOMP_SPINCOUNT") ?? (chosen ? null : "1000"), Nibble.Kernels.Runtime.OpenMpRuntime.Turns);
    }

    [Fact]
    public void What_libtorch_cannot_allocate_is_known_as_lack_of_memory()
    {
        Exception failure = Assert.ThrowsAny<Exception>(() => { torch.empty(1L << 50); });
        Assert.True(ComputeDevice.MeansOutOfMemory(failure), failure.Message);
        Assert.False(ComputeDevice.MeansOutOfMemory(new InvalidDataException("another")));
    }

    [Fact]
    public void The_switch_that_keeps_backward_passes_to_their_thread_is_where_this_libtorch_has_it()
    {
        // Beside the switch lies the gradient mode: were it read from elsewhere, one of the two calls would throw.
        Nibble.Kernels.Autograd.AutogradThreads.KeepToCaller();
        using IDisposable noGrad = torch.no_grad();
        Nibble.Kernels.Autograd.AutogradThreads.KeepToCaller();
    }
}
