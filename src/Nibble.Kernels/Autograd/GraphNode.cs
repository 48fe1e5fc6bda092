using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Autograd;

/// <summary>
/// An operator's place in libtorch's graph, with managed code as its backward pass. Underneath is the native node of TorchSharp's
/// <c>autograd.Function</c>. That class makes, at every call, a tensor the size of each output to remember its shape, and some thirty objects
/// and functions for native code, and leaves gradients to the caller's dispose scope: a hundredth of a small model's step, and a third of the
/// memory that a long sequence takes.
/// </summary>
internal abstract unsafe class GraphNode
{
    /// <summary>Where the <see cref="Tie"/> under way takes its results.</summary>
    [ThreadStatic]
    private static nint* room;

    /// <summary>The gradients that the backward function that ran last had and gave: libtorch takes the latter when it has returned.</summary>
    [ThreadStatic]
    private static List<Tensor>? handedOver;

    private readonly List<SavedTensor> saved = [];
    private NativeMethods.GraphNode native;
    private int inputCount;

    /// <summary>Frees the gradients that libtorch has taken; without this they are freed by the next backward function.</summary>
    public static void Release()
    {
        handedOver?.ForEach(tensor => tensor.Dispose());
        handedOver?.Clear();
    }

    /// <summary>The gradients of the inputs, in their order; null for one that nobody needs.</summary>
    /// <param name="gradients">
    /// Those of the outputs, one at least; null for an output that nothing came of. They are freed afterwards: one that is to last is taken
    /// out of the array.
    /// </param>
    protected abstract Tensor?[] Backward(Tensor?[] gradients);

    /// <summary>Makes outputs results of this node.</summary>
    /// <param name="outputs">Fresh tensors, made without a graph.</param>
    /// <param name="inputs">What may learn of what they were made from.</param>
    protected void Tie(ReadOnlySpan<Tensor> outputs, ReadOnlySpan<Tensor> inputs)
    {
        nint* results = stackalloc nint[outputs.Length];
        nint* outputHandles = stackalloc nint[outputs.Length];
        nint* inputHandles = stackalloc nint[inputs.Length];
        NativeMethods.TensorArray made = Handles(outputs, outputHandles);
        NativeMethods.TensorArray given = Handles(inputs, inputHandles);
        inputCount = inputs.Length;
        native = NodeFunctions.CreateNode(this);
        try
        {
            NativeMethods.THSAutograd_CSharpNode_setNextEdges(native, given, isExecutable: 1);
            CheckForErrors();
            room = results;
            NativeMethods.THSAutograd_Function_wrapOutputs(given, default, default, made, native, &Room);
            CheckForErrors();
            for (int i = 0; i < outputs.Length; i++)
            {
                NativeMethods.THSTensor_dispose(results[i]); // Another name of the output, which has got its history in place.
            }
        }
        finally
        {
            NativeMethods.THSAutograd_CSharpNode_disposeSharedPtr(native); // From here on the outputs keep the node.
            KeepAlive(inputs);
            KeepAlive(outputs);
        }
    }

    /// <summary>
    /// Keeps a tensor for the backward pass, be it an input, an output or what lies between; there libtorch complains if somebody wrote
    /// to it since. Comes after <see cref="Tie"/>.
    /// </summary>
    protected SavedTensor Save(Tensor tensor)
    {
        var kept = new SavedTensor(NativeMethods.THSAutograd_SavedVariable_ctor(tensor.Handle, native, isInPlaceOnView: 0));
        GC.KeepAlive(tensor);
        CheckForErrors();
        saved.Add(kept);
        return kept;
    }

    /// <summary>A tensor that was kept.</summary>
    protected Contiguous Load(SavedTensor tensor)
    {
        nint handle = NativeMethods.THSAutograd_SavedVariable_unpack(tensor.Handle, native);
        CheckForErrors();
        return Contiguous.Own(Tensor.UnsafeCreateTensor(handle));
    }

    /// <summary>Runs the backward function for libtorch; what it throws is noted, and the gradients are undefined then.</summary>
    /// <param name="handles">The outputs' gradients, which become ours; zero for an undefined one.</param>
    internal Tensor?[] Run(ReadOnlySpan<nint> handles)
    {
        Release();
        var gradients = new Tensor?[handles.Length];
        for (int i = 0; i < handles.Length; i++)
        {
            gradients[i] = handles[i] == 0 ? null : Tensor.UnsafeCreateTensor(handles[i]);
        }

        var answer = new Tensor?[inputCount];
        if (!BackwardPass.HasFailed && Array.Exists(gradients, gradient => gradient is not null))
        {
            try
            {
                answer = Backward(gradients);
            }
            catch (Exception exception)
            {
                BackwardPass.Fail(exception);
            }
        }

        handedOver ??= [];
        handedOver.AddRange(gradients.Concat(answer).OfType<Tensor>());
        return answer;
    }

    /// <summary>The native node is going.</summary>
    internal void Delete()
    {
        saved.ForEach(tensor => NativeMethods.THSAutograd_SavedVariable_dispose(tensor.Handle));
        NativeMethods.THSAutograd_CSharpNode_disposeWeakPtr(native);
    }

    private static NativeMethods.TensorArray Handles(ReadOnlySpan<Tensor> tensors, nint* handles)
    {
        for (int i = 0; i < tensors.Length; i++)
        {
            handles[i] = tensors[i].Handle;
        }

        return new NativeMethods.TensorArray { Tensors = handles, Count = tensors.Length };
    }

    /// <summary>The collector may free a tensor of which only the handle is in use.</summary>
    private static void KeepAlive(ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
        {
            GC.KeepAlive(tensor);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint* Room(nuint count) => room;
}
