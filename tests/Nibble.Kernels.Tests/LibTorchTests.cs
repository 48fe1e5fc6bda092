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
}
