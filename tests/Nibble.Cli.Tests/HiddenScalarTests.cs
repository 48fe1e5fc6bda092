using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Nibble.Cli.Tests;

/// <summary>TorchSharp's sums of tensors make a scalar of their own, their factor, which may be freed while libtorch reads it; so does a vector's norm, its order.</summary>
public class HiddenScalarTests
{
    private static readonly string[] Hiding = ["op_Addition", "add", "add_"];

    [Theory]
    [InlineData("Nibble.Kernels.dll")]
    [InlineData("Nibble.Modeling.dll")]
    [InlineData("Nibble.Evaluation.dll")]
    [InlineData("Nibble.Training.dll")]
    [InlineData("Nibble.Serving.dll")]
    [InlineData("nibble.dll")]
    public void No_assembly_calls_what_hides_a_scalar(string assembly)
    {
        using var file = new PEReader(File.OpenRead(Path.Combine(AppContext.BaseDirectory, assembly)));
        MetadataReader metadata = file.GetMetadataReader();
        Assert.Empty(metadata.MemberReferences.Select(metadata.GetMemberReference).Where(member => (IsOf(member, "Tensor") && HidesScalar(member)) || IsNorm(member)).Select(member => metadata.GetString(member.Name)));

        bool IsOf(MemberReference member, string type) => member.Parent.Kind == HandleKind.TypeReference
            && metadata.GetString(metadata.GetTypeReference((TypeReferenceHandle)member.Parent).Name) == type;

        bool IsNorm(MemberReference member) => IsOf(member, "linalg") && metadata.GetString(member.Name) == "vector_norm";

        // A scalar that is given, as in add(Tensor, Scalar) and add(Scalar), is for the caller to hold.
        bool HidesScalar(MemberReference member)
        {
            BlobReader signature = metadata.GetBlobReader(member.Signature);
            bool instance = signature.ReadSignatureHeader().IsInstance;
            int given = signature.ReadCompressedInteger() + (instance ? 1 : 0);
            return Hiding.Contains(metadata.GetString(member.Name)) && given == 2 && !EndsWithScalar(metadata.GetBlobBytes(member.Signature));
        }

        bool EndsWithScalar(byte[] signature) => metadata.TypeReferences
            .Any(type => metadata.GetString(metadata.GetTypeReference(type).Name) == "Scalar" && signature.AsSpan().EndsWith(Coded(type)));

        byte[] Coded(TypeReferenceHandle type)
        {
            var builder = new BlobBuilder();
            builder.WriteCompressedInteger(CodedIndex.TypeDefOrRef(type));
            return builder.ToArray();
        }
    }
}
