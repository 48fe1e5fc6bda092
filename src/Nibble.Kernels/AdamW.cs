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

    /// <summary>How new values of parameters in bfloat16 are rounded.</summary>
    public StochasticRounding Rounding { get; init; }

    /// <summary>Updates with float32 moments.</summary>
    /// <param name="parameter">float32, or bfloat16, whose new values are rounded stochastically (<see cref="Rounding"/>); contiguous.</param>
    /// <param name="gradient">As many elements: float32, or for a parameter in bfloat16 also that.</param>
    /// <param name="moment1">As many elements, float32.</param>
    /// <param name="moment2">Like moment1.</param>
    public void Update(Tensor parameter, Tensor gradient, Tensor moment1, Tensor moment2)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        using KernelCall call = KernelCall.On(parameter, nameof(AdamW));
        nint[] states = [Address(moment1, parameter, nameof(moment1), call, ScalarType.Float32), Address(moment2, parameter, nameof(moment2), call, ScalarType.Float32)];
        Run(call, parameter, gradient, 0, parameter.NumberOfElements, states, eightBit: false);
    }

    /// <summary>Updates with 8-bit block-wise moments (arXiv:2110.02861) as <see cref="EightBitState"/> keeps them; otherwise as above.</summary>
    public void Update(Tensor parameter, Tensor gradient, EightBitState state)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(state);
        using KernelCall call = KernelCall.On(parameter, nameof(AdamW));
        nint[] states = [call.Address(state.Codes1, "codes1"), call.Address(state.Codes2, "codes2"), call.Address(state.Absmax1, "absmax1"), call.Address(state.Absmax2, "absmax2")];
        Run(call, parameter, gradient, 0, parameter.NumberOfElements, states, eightBit: true);
    }

    /// <summary>Updates part of a parameter.</summary>
    /// <param name="parameter">As above.</param>
    /// <param name="gradient">As above.</param>
    /// <param name="start">First element, a multiple of <see cref="StateBlock"/>.</param>
    /// <param name="count">Elements.</param>
    /// <param name="states">Addresses of the part's states: two moments, or the four parts of <see cref="EightBitState"/>.</param>
    /// <param name="eightBit">Which of them.</param>
    internal void Update(Tensor parameter, Tensor gradient, long start, long count, nint[] states, bool eightBit)
    {
        using KernelCall call = KernelCall.On(parameter, nameof(AdamW));
        Run(call, parameter, gradient, start, count, states, eightBit);
    }

    private unsafe void Run(in KernelCall call, Tensor parameter, Tensor gradient, long start, long count, nint[] states, bool eightBit)
    {
        NativeMethods.AdamW config = View();
        nint values = Address(parameter, parameter, nameof(parameter), call, ScalarType.Float32, ScalarType.BFloat16) + (nint)(start * parameter.ElementSize);
        if (parameter.dtype == ScalarType.Float32)
        {
            nint slopes = Address(gradient, parameter, nameof(gradient), call, ScalarType.Float32) + (nint)(start * sizeof(float));
            call.Check(eightBit
                ? NativeMethods.nibble_adamw_step_8bit(call.Device, &config, values, slopes, states[0], states[1], states[2], states[3], count)
                : NativeMethods.nibble_adamw_step_32bit(call.Device, &config, values, slopes, states[0], states[1], count));
            return;
        }

        nint either = Address(gradient, parameter, nameof(gradient), call, ScalarType.Float32, ScalarType.BFloat16) + (nint)(start * gradient.ElementSize);
        int dtype = (int)DTypes.Of(gradient);
        var rounding = new NativeMethods.Rounding { Seed = Rounding.Seed, First = Rounding.First + start, Parameter = Rounding.Parameter };
        call.Check(eightBit
            ? NativeMethods.nibble_adamw_step_8bit_bf16(call.Device, &config, &rounding, values, dtype, either, states[0], states[1], states[2], states[3], count)
            : NativeMethods.nibble_adamw_step_32bit_bf16(call.Device, &config, &rounding, values, dtype, either, states[0], states[1], count));
    }

    private static nint Address(Tensor tensor, Tensor like, string name, in KernelCall call, params ReadOnlySpan<ScalarType> dtypes)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (!dtypes.Contains(tensor.dtype) || tensor.NumberOfElements != like.NumberOfElements)
        {
            throw new ArgumentException(
                $"AdamW: '{name}' must be {string.Join(" or ", dtypes.ToArray())} of {like.NumberOfElements} elements, found {tensor.NumberOfElements} x {tensor.dtype}.");
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

    /// <summary>
    /// Names the random bits that round new values of a parameter in bfloat16 up or down, without bias (arXiv:2010.06192): Philox's of the seed, the
    /// step, the parameter and the element.
    /// </summary>
    /// <param name="Seed">The run's.</param>
    /// <param name="Parameter">The parameter's number, less than 2³¹.</param>
    /// <param name="First">Where the tensor begins in the parameter, a multiple of <see cref="StateBlock"/>.</param>
    public readonly record struct StochasticRounding(ulong Seed, uint Parameter, long First);

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
