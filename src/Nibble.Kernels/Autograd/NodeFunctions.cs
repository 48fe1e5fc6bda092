using System.Runtime.InteropServices;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Autograd;

/// <summary>
/// The two functions that a native node calls. They are told nothing but their arguments, so each living node needs a pair of its own;
/// making one takes as long as a small kernel, so a pair goes from node to node.
/// </summary>
internal sealed unsafe class NodeFunctions
{
    private static readonly Lock Gate = new();
    private static readonly List<NodeFunctions> All = []; // Native code does not keep them.
    private static readonly Stack<NodeFunctions> Free = [];

    private readonly Apply apply;
    private readonly Delete delete;
    private readonly nint applyPointer;
    private readonly nint deletePointer;
    private GraphNode? node;
    private nint[] answer = GC.AllocateArray<nint>(8, pinned: true);

    private NodeFunctions()
    {
        (apply, delete) = (ApplyNode, DeleteNode);
        applyPointer = Marshal.GetFunctionPointerForDelegate(apply);
        deletePointer = Marshal.GetFunctionPointerForDelegate(delete);
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate NativeMethods.TensorArray Apply(nint* gradients, int count);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate void Delete();

    /// <summary>How many pairs there are: as many as nodes lived at one time.</summary>
    public static int Made
    {
        get
        {
            lock (Gate)
            {
                return All.Count;
            }
        }
    }

    /// <summary>A native node that calls this one.</summary>
    public static NativeMethods.GraphNode CreateNode(GraphNode node)
    {
        NodeFunctions functions;
        lock (Gate)
        {
            if (!Free.TryPop(out functions!))
            {
                All.Add(functions = new NodeFunctions());
            }
        }

        functions.node = node;
        return NativeMethods.THSAutograd_CSharpNode_ctor(functions.applyPointer, functions.deletePointer);
    }

    /// <summary>Native code reads the array that comes back when this has returned.</summary>
    private NativeMethods.TensorArray ApplyNode(nint* gradients, int count)
    {
        Tensor?[] results = node!.Run(new ReadOnlySpan<nint>(gradients, count));
        if (results.Length > answer.Length)
        {
            answer = GC.AllocateArray<nint>(results.Length, pinned: true);
        }

        for (int i = 0; i < results.Length; i++)
        {
            answer[i] = results[i]?.Handle ?? 0;
        }

        return new NativeMethods.TensorArray { Tensors = (nint*)Marshal.UnsafeAddrOfPinnedArrayElement(answer, 0), Count = results.Length };
    }

    private void DeleteNode()
    {
        node!.Delete();
        node = null;
        lock (Gate)
        {
            Free.Push(this);
        }
    }
}
