using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Nibble.Training.Tests;

/// <summary>TorchSharp's sums and differences of tensors make a scalar of their own, which may be freed while libtorch reads it.</summary>
public class HiddenScalarTests
{
    private static readonly string[] Hiding = ["op_Addition", "op_Subtraction", "add", "add_", "sub", "sub_", "subtract", "subtract_"];

    [Theory]
    [InlineData("Nibble.Kernels.dll")]
    [InlineData("Nibble.Modeling.dll")]
    [InlineData("Nibble.Evaluation.dll")]
    [InlineData("Nibble.Training.dll")]
    public void No_assembly_calls_what_hides_a_scalar(string assembly)
    {
        using var file = new PEReader(File.OpenRead(Path.Combine(AppContext.BaseDirectory, assembly)));
        MetadataReader metadata = file.GetMetadataReader();
        Assert.Empty(metadata.MemberReferences.Select(metadata.GetMemberReference).Where(IsOfTensor).Where(HidesScalar).Select(member => metadata.GetString(member.Name)));

        bool IsOfTensor(MemberReference member) => member.Parent.Kind == HandleKind.TypeReference
            && metadata.GetString(metadata.GetTypeReference((TypeReferenceHandle)member.Parent).Name) == "Tensor";

        // Those that are given their scalar have one parameter more: add(Tensor, Scalar), but also mul_(Scalar), are for the caller to hold.
        bool HidesScalar(MemberReference member)
        {
            BlobReader signature = metadata.GetBlobReader(member.Signature);
            bool instance = signature.ReadSignatureHeader().IsInstance;
            int given = signature.ReadCompressedInteger() + (instance ? 1 : 0);
            return Hiding.Contains(metadata.GetString(member.Name)) && given == 2 && !metadata.GetBlobBytes(member.Signature).AsSpan().EndsWith(ScalarType());
        }

        byte[] ScalarType() =>
        [
            .. metadata.TypeReferences.Where(type => metadata.GetString(metadata.GetTypeReference(type).Name) == "Scalar").Take(1).SelectMany(Coded),
        ];

        byte[] Coded(TypeReferenceHandle type)
        {
            var builder = new BlobBuilder();
            builder.WriteCompressedInteger(CodedIndex.TypeDefOrRef(type));
            return builder.ToArray();
        }
    }
}
