using Nibble.Kernels.Cuda;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Tests;

/// <summary>What a GPU or its driver may refuse, as it reaches the caller: one line with operator, shapes and the driver's words.</summary>
public class CudaErrorTests
{
    [Fact]
    public void A_GPU_that_is_not_there_is_named()
    {
        var exception = Assert.Throws<CudaException>(() => EmulatedCuda.Open(7, out _));
        Assert.Contains("there is no cuda:7", exception.Message, StringComparison.Ordinal);
        Assert.Contains("(CUDA_ERROR_INVALID_DEVICE)", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_chip_before_Turing_is_refused()
    {
        var exception = Assert.Throws<NotSupportedException>(() => EmulatedCuda.Open(
            0, out _, witness => (witness.Attributes[DeviceAttribute.ComputeCapabilityMajor], witness.Attributes[DeviceAttribute.ComputeCapabilityMinor]) = (6, 1)));
        Assert.Equal("cuda:0 (Emulated Turing, sm_61) cannot be used: it is older than what the kernels need, Turing (sm_75).", exception.Message);
    }

    [Fact]
    public void A_driver_that_finds_no_GPU_is_named_and_only_auto_falls_back_to_the_CPU()
    {
        EmulatedCuda.Open(0, out DriverWitness witness);
        witness.Gpus = 0;
        AssertFallsBack(GpuReport.Read((ICudaDriver)witness, CudaImage.OfBuild), "the driver finds no GPU", "the driver finds no GPU");
    }

    [Fact]
    public void A_build_without_an_image_for_the_chip_is_named_and_only_auto_falls_back_to_the_CPU()
    {
        const string Problem = "this build has no CUDA kernels for it; ./build.sh --target=Cuda makes them, then build again";
        EmulatedCuda.Open(1, out DriverWitness witness);
        var exception = Assert.Throws<NotSupportedException>(() => CudaDevice.Emulated((ICudaDriver)witness, 1, hasImage: false));
        Assert.Equal($"cuda:1 (Emulated Ampere, sm_80) cannot be used: {Problem}.", exception.Message);

        GpuReport report = GpuReport.Read((ICudaDriver)witness, images: []) with { Problem = null }; // As with the libtorch for GPUs.
        Assert.All(report.Gpus, gpu => Assert.Equal((null, Problem), (gpu.Image, gpu.Problem)));
        Assert.EndsWith($" GiB, no kernels): {Problem}", report.Gpus[0].ToString(), StringComparison.Ordinal);
        AssertFallsBack(report, report.Gpus[0].ToString(), Problem);
    }

    [Fact]
    public void A_GPU_beyond_those_that_there_are_is_an_error_that_counts_them()
    {
        EmulatedCuda.Open(0, out DriverWitness witness);
        GpuReport report = GpuReport.Read((ICudaDriver)witness, CudaImage.OfBuild) with { Problem = null };
        Assert.Equal(
            "device cuda:3 cannot be used: there are 3 GPUs.", Assert.Throws<NotSupportedException>(() => ComputeDevice.Choose("cuda:3", report, _ => { })).Message);
    }

    [Theory]
    [InlineData(nameof(CudaStatus.UnsupportedPtxVersion))]
    [InlineData(nameof(CudaStatus.NoBinaryForGpu))]
    [InlineData(nameof(CudaStatus.InvalidImage))]
    public void A_driver_too_old_for_the_image_is_to_be_updated(string status)
    {
        var exception = Assert.Throws<CudaException>(() =>
            EmulatedCuda.Open(1, out _, witness => witness.Refusals[nameof(ICudaDriver.ModuleLoadData)] = Enum.Parse<CudaStatus>(status)));
        Assert.StartsWith("cuda:1 (Emulated Ampere, sm_80) does not load its image: ", exception.Message, StringComparison.Ordinal);
        Assert.EndsWith("the driver, made for CUDA 12.8, is older than the kernels: update it", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_failed_launch_names_operator_kernel_and_shapes_and_says_whether_the_process_can_go_on()
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(0, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        witness.Refusals[nameof(ICudaDriver.LaunchKernel)] = CudaStatus.LaunchFailed;
        var exception = Assert.Throws<CudaException>(() => RmsNorm.Apply(randn(5, 72), ones(72), 1e-5f));
        Assert.StartsWith("RmsNorm on cuda:0 with x [5, 72] Float32, weight [72] Float32, y [5, 72] Float32: rms_norm_forward_f32 over ", exception.Message, StringComparison.Ordinal);
        Assert.EndsWith("; this process can use the GPU no more, start it again", exception.Message, StringComparison.Ordinal);
        Assert.True(exception.IsFatal);
        witness.Refusals.Clear();
        Assert.Equal([5, 72], RmsNorm.Apply(randn(5, 72), ones(72), 1e-5f).shape);
    }

    [Fact]
    public void A_failed_launch_inside_the_backward_pass_reaches_the_caller()
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(0, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        Tensor y = SwiGlu.Apply(randn(2, 8).requires_grad_(), randn(2, 8)).sum();
        witness.Refusals[nameof(ICudaDriver.LaunchKernel)] = CudaStatus.LaunchFailed;
        Assert.StartsWith("SwiGlu backward on cuda:0 with gate [2, 8]", Assert.Throws<CudaException>(() => BackwardPass.Run(y)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_lost_GPU_is_named()
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(2, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        witness.Refusals[nameof(ICudaDriver.CtxSetCurrent)] = CudaStatus.DeviceUnavailable;
        var exception = Assert.Throws<CudaException>(() => SwiGlu.Apply(randn(2, 8), randn(2, 8)));
        Assert.StartsWith("SwiGlu: cuda:2 cannot be used: ", exception.Message, StringComparison.Ordinal);
        Assert.True(exception.IsFatal);
    }

    [Fact]
    public void Device_memory_that_runs_out_names_operator_shapes_and_what_is_left_and_the_next_call_works()
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(1, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        using var head = new DenseWeight(randn(100, 64));
        Tensor labels = tensor(new long[] { 1, 2, 3 });
        witness.Refusals[nameof(ICudaDriver.MemAlloc)] = CudaStatus.OutOfMemory;
        var exception = Assert.Throws<CudaException>(() => LinearCrossEntropy.Apply(randn(3, 64), head, labels));
        Assert.Matches(
            @"^LinearCrossEntropy on cuda:1 with .*hidden \[3, 64\] Float32.*: no [\d,]+ bytes of GPU memory \([\d,]+ of [\d,]+ are free\): .*CUDA_ERROR_OUT_OF_MEMORY",
            exception.Message);
        Assert.True(exception.IsOutOfMemory);
        witness.Refusals.Clear();
        Assert.Equal([3], LinearCrossEntropy.Apply(randn(3, 64), head, labels).shape);
    }

    [Fact]
    public void Pinned_memory_that_runs_out_is_told_from_device_memory()
    {
        CudaDevice device = EmulatedCuda.Open(0, out DriverWitness witness);
        witness.Refusals[nameof(ICudaDriver.MemHostAlloc)] = CudaStatus.OutOfMemory;
        var exception = Assert.Throws<CudaException>(() => device.AllocatePinned(4096));
        Assert.StartsWith("no 4,096 bytes of pinned host memory: ", exception.Message, StringComparison.Ordinal);
        Assert.True(exception.IsOutOfMemory);
    }

    [Fact]
    public void Tensors_on_different_devices_or_not_contiguous_are_named_with_operator_and_shape()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor elsewhere = empty(72, device: META);
        Assert.Equal(
            "RmsNorm: 'weight' [72] Float32 lies on meta, others on cpu; all tensors of a call must lie on one device.",
            Assert.Throws<ArgumentException>(() => RmsNorm.Apply(randn(5, 72), elsewhere, 1e-5f)).Message);
        Assert.Equal(
            "RmsNorm: the engine computes on cpu and cuda, not on meta.",
            Assert.Throws<ArgumentException>(() => RmsNorm.Apply(empty(5, 72, device: META), elsewhere, 1e-5f)).Message);
        Assert.Equal(
            "RmsNorm: 'weight' [72] Float32 must be contiguous.",
            Assert.Throws<ArgumentException>(() => RmsNorm.Apply(randn(5, 72), randn(72, 2).select(1, 0), 1e-5f)).Message);
    }

    [Fact]
    public void A_kernel_asks_leave_for_shared_memory_beyond_48_KiB_once()
    {
        EmulatedCuda.Open(1, out DriverWitness witness);
        using var module = new CudaModule((ICudaDriver)witness, context: 2, [0], "load");
        witness.Refusals[nameof(ICudaDriver.LaunchKernel)] = CudaStatus.LaunchFailed;
        foreach ((uint bytes, int asked) in new[] { (49152u, 0), (65536u, 1), (60000u, 1), (70000u, 2) })
        {
            Assert.Throws<CudaException>(() => module.Launch("rms_norm_forward_f32", [1, 1, 1], 32, bytes, stream: 0, arguments: 0, argumentBytes: 0));
            Assert.Equal(asked, witness.Calls(nameof(ICudaDriver.FuncSetMaxDynamicSharedMemory)));
        }
    }

    [Fact]
    public void The_image_is_the_newest_that_is_not_newer_than_the_chip()
    {
        CudaImage[] images = [new("nibble.sm_75.ptx", 75), new("nibble.sm_80.ptx", 80)];
        Assert.Equal(75, CudaImage.Best(images, 75)!.ComputeCapability);
        Assert.Equal(80, CudaImage.Best(images, 89)!.ComputeCapability);
        Assert.Null(CudaImage.Best(images, 70));
    }

    private static void AssertFallsBack(GpuReport report, string reasonOfAuto, string reasonOfDevice)
    {
        var notes = new List<string>();
        Assert.Equal(DeviceType.CPU, ComputeDevice.Choose("auto", report, notes.Add).type);
        Assert.Equal([$"Computing on the CPU: {reasonOfAuto}."], notes);
        Assert.Equal(
            $"device cuda:0 cannot be used: {reasonOfDevice}.", Assert.Throws<NotSupportedException>(() => ComputeDevice.Choose("cuda:0", report, notes.Add)).Message);
        Assert.Single(notes);
    }
}
