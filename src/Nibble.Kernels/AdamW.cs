using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>One update of AdamW (arXiv:1711.05101), fused over parameter, gradient and states.</summary>
/// <param name="LearningRate">The step's learning rate.</param>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added to the root of the second moment.</param>
/// <param name="WeightDecay">Decoupled decay.</param>
/// <param name="GradScale">Factor on the gradient: clipping, and the inverse of a loss scale.</param>
/// <param name="Step">Counts from 1.</param>
public readonly record struct AdamW(
    double LearningRate, double Beta1, double Beta2, double Epsilon, double WeightDecay, double GradScale, long Step)
{
    /// <summary>Elements that share one scale in 8-bit states.</summary>
    public const int StateBlock = 256;

    /// <summary>Updates with float32 moments, all tensors contiguous float32 of one size.</summary>
    public unsafe void Update(Tensor parameter, Tensor gradient, Tensor moment1, Tensor moment2)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        NativeMethods.AdamW config = View();
        using KernelCall call = KernelCall.On(parameter, nameof(AdamW));
        call.Check(NativeMethods.nibble_adamw_step_32bit(
            call.Device,
            &config,
            Float32(parameter, parameter, nameof(parameter), call),
            Float32(gradient, parameter, nameof(gradient), call),
            Float32(moment1, parameter, nameof(moment1), call),
            Float32(moment2, parameter, nameof(moment2), call),
            parameter.NumberOfElements));
    }

    /// <summary>Updates with 8-bit block-wise moments (arXiv:2110.02861) as <see cref="EightBitState"/> keeps them.</summary>
    public unsafe void Update(Tensor parameter, Tensor gradient, EightBitState state)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(state);
        NativeMethods.AdamW config = View();
        using KernelCall call = KernelCall.On(parameter, nameof(AdamW));
        call.Check(NativeMethods.nibble_adamw_step_8bit(
            call.Device,
            &config,
            Float32(parameter, parameter, nameof(parameter), call),
            Float32(gradient, parameter, nameof(gradient), call),
            call.Address(state.Codes1, "codes1"),
            call.Address(state.Codes2, "codes2"),
            call.Address(state.Absmax1, "absmax1"),
            call.Address(state.Absmax2, "absmax2"),
            parameter.NumberOfElements));
    }

    /// <summary>Updates part of a parameter.</summary>
    /// <param name="parameter">float32, contiguous.</param>
    /// <param name="gradient">Like parameter.</param>
    /// <param name="start">First element, a multiple of <see cref="StateBlock"/>.</param>
    /// <param name="count">Elements.</param>
    /// <param name="states">Addresses of the part's states: two moments, or the four parts of <see cref="EightBitState"/>.</param>
    /// <param name="eightBit">Which of them.</param>
    internal unsafe void Update(Tensor parameter, Tensor gradient, long start, long count, nint[] states, bool eightBit)
    {
        NativeMethods.AdamW config = View();
        using KernelCall call = KernelCall.On(parameter, nameof(AdamW));
        nint values = Float32(parameter, parameter, nameof(parameter), call) + (nint)(start * sizeof(float));
        nint slopes = Float32(gradient, parameter, nameof(gradient), call) + (nint)(start * sizeof(float));
        call.Check(eightBit
            ? NativeMethods.nibble_adamw_step_8bit(call.Device, &config, values, slopes, states[0], states[1], states[2], states[3], count)
            : NativeMethods.nibble_adamw_step_32bit(call.Device, &config, values, slopes, states[0], states[1], count));
    }

    private static nint Float32(Tensor tensor, Tensor like, string name, in KernelCall call)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.dtype != ScalarType.Float32 || tensor.NumberOfElements != like.NumberOfElements)
        {
            throw new ArgumentException($"AdamW: '{name}' must be float32 of {like.NumberOfElements} elements, found {tensor.NumberOfElements} x {tensor.dtype}.");
        }

        return call.Address(tensor, name);
    }

    private NativeMethods.AdamW View() => new()
    {
        LearningRate = LearningRate,
        Beta1 = Beta1,
        Beta2 = Beta2,
        Epsilon = Epsilon,
        WeightDecay = WeightDecay,
        GradScale = GradScale,
        Step = Step,
    };

    /// <summary>Moments in eight bits an element, blocks of 256 with a scale each.</summary>
    /// <param name="Codes1">First moment, signed dynamic map: uint8 <c>[n]</c>.</param>
    /// <param name="Codes2">Second moment, unsigned dynamic map: uint8 <c>[n]</c>.</param>
    /// <param name="Absmax1">float32 <c>[ceil(n / 256)]</c>.</param>
    /// <param name="Absmax2">float32 <c>[ceil(n / 256)]</c>.</param>
    public sealed record EightBitState(Tensor Codes1, Tensor Codes2, Tensor Absmax1, Tensor Absmax2)
    {
        /// <summary>The states of a parameter of <paramref name="count"/> elements that was never updated, on a device; null is the CPU.</summary>
        public static EightBitState Zero(long count, Device? device = null)
        {
            long blocks = (count + StateBlock - 1) / StateBlock;
            var state = new EightBitState(
                empty(count, ScalarType.Byte), empty(count, ScalarType.Byte), empty(blocks, ScalarType.Float32), empty(blocks, ScalarType.Float32));
            LibNibble.Check(NativeMethods.nibble_adamw_init_8bit(
                TensorMemory.Address(state.Codes1, "codes1"),
                TensorMemory.Address(state.Codes2, "codes2"),
                TensorMemory.Address(state.Absmax1, "absmax1"),
                TensorMemory.Address(state.Absmax2, "absmax2"),
                count));
            return device is null || device.type == TorchSharp.DeviceType.CPU ? state : state.To(device);
        }

        private EightBitState To(Device device)
        {
            using (Codes1)
            using (Codes2)
            using (Absmax1)
            using (Absmax2)
            {
                return new(Codes1.to(device), Codes2.to(device), Absmax1.to(device), Absmax2.to(device));
            }
        }
    }
}
