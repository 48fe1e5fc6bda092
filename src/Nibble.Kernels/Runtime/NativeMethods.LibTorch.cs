using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>What libtorch and TorchSharp's native binding export and TorchSharp keeps to itself.</summary>
internal static unsafe partial class NativeMethods
{
    /// <summary>Tensors (at::Tensor*) for or from native code; zero stands for an undefined one.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct TensorArray
    {
        public nint* Tensors;
        public long Count;
    }

    /// <summary>CSharpNodePtr: what keeps a node while it has no output yet, and what tells it apart later.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct GraphNode
    {
        public nint Shared;
        public nint Weak;
    }

    [LibraryImport(LibTorch.CoreName, EntryPoint = "_ZN3c1015GetCPUAllocatorEv")]
    public static partial nint c10_GetCPUAllocator();

    [LibraryImport(LibTorch.CoreName, EntryPoint = "_ZN3c1015SetCPUAllocatorEPNS_9AllocatorEh")]
    public static partial void c10_SetCPUAllocator(nint allocator, byte priority);

    [LibraryImport(LibTorch.CoreName, EntryPoint = "_ZN3c1013AutogradState13get_tls_stateEv")]
    public static partial byte* c10_AutogradState_get_tls_state();

    /// <summary>TorchSharp keeps the data pointer to itself, but its native library exports it; storage offsets are included.</summary>
    [LibraryImport(LibTorch.BindingName)]
    public static partial nint THSTensor_data(nint tensor);

    [LibraryImport(LibTorch.BindingName)]
    public static partial nint THSTensor_frombuffer(
        nint data, nint deleter, long count, long offset, sbyte type, sbyte dtype, int deviceType, int deviceIndex, byte requiresGrad);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSTensor_dispose(nint tensor);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSAutograd_backward(
        nint* tensors, long tensorCount, nint* gradients, long gradientCount, byte retainGraph, byte createGraph, nint* inputs, long inputCount);

    /// <param name="apply"><c>TensorArray (*)(nint* gradients, int count)</c>, which owns the gradients that it is given.</param>
    /// <param name="delete"><c>void (*)()</c>, called when nothing keeps the node any more.</param>
    [LibraryImport(LibTorch.BindingName)]
    public static partial GraphNode THSAutograd_CSharpNode_ctor(nint apply, nint delete);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSAutograd_CSharpNode_disposeSharedPtr(GraphNode node);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSAutograd_CSharpNode_disposeWeakPtr(GraphNode node);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSAutograd_CSharpNode_setNextEdges(GraphNode node, TensorArray inputs, byte isExecutable);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSAutograd_Function_wrapOutputs(
        TensorArray inputs, TensorArray nonDifferentiable, TensorArray dirty, TensorArray outputs, GraphNode node, delegate* unmanaged[Cdecl]<nuint, nint*> results);

    [LibraryImport(LibTorch.BindingName)]
    public static partial nint THSAutograd_SavedVariable_ctor(nint tensor, GraphNode node, byte isInPlaceOnView);

    [LibraryImport(LibTorch.BindingName)]
    public static partial nint THSAutograd_SavedVariable_unpack(nint saved, GraphNode node);

    [LibraryImport(LibTorch.BindingName)]
    public static partial void THSAutograd_SavedVariable_dispose(nint saved);
}
