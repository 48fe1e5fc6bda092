using Nibble.Kernels;
using Nibble.Training.Distributed;

namespace Nibble.Training.Tests;

public class FlatLayoutTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    public void Every_element_belongs_to_one_rank_and_no_block_of_states_to_two(int ranks)
    {
        long[] sizes = [64, 1, 256, 70_000, 257, 1000, 3];
        var layout = new FlatLayout([.. sizes.Select((size, i) => ($"model.layers.{i / 2}.weight", size))], ranks, bucketElements: 2000);
        Assert.True(layout.Buckets.Count > 1);
        int[][] owners = [.. sizes.Select(size => new int[size])];
        foreach (FlatLayout.Bucket bucket in layout.Buckets)
        {
            Assert.Equal(bucket.Length, layout.Shares(bucket).Sum());
            for (int rank = 0; rank < ranks; rank++)
            {
                foreach (Slice slice in layout.SlicesOf(bucket, rank))
                {
                    Assert.Equal(0, slice.Start % AdamW.StateBlock);
                    Assert.InRange(slice.InShare + slice.Count, 1, layout.Shares(bucket)[rank]);
                    for (long i = slice.Start; i < slice.Start + slice.Count; i++)
                    {
                        owners[slice.Parameter][i]++;
                    }
                }
            }
        }

        Assert.All(owners, parameter => Assert.All(parameter, count => Assert.Equal(1, count)));
    }

    [Fact]
    public void A_bucket_waits_for_the_first_of_its_layers_and_none_for_what_is_outside_of_layers()
    {
        string[] names =
        [
            "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight",
            "base_model.model.model.layers.12.self_attn.q_proj.lora_A.weight", "model.norm.weight", "lm_head.weight",
        ];
        var layout = new FlatLayout([.. names.Select(name => (name, 256L))], ranks: 2, bucketElements: 512);
        Assert.Equal(
            [("0", FlatLayout.NoLayer), ("1,2", 0), ("3", 12), ("4,5", FlatLayout.NoLayer)],
            layout.Buckets.Select(bucket => (string.Join(',', bucket.Places.Select(place => place.Parameter)), bucket.Layer)));
    }

    [Fact]
    public void Ranks_have_about_as_much_of_each_bucket()
    {
        var layout = new FlatLayout([("model.norm.weight", 100_000)], ranks: 4);
        Assert.Equal([25_088, 25_088, 25_088, 24_832], layout.Shares(layout.Buckets.Single()));
    }
}
