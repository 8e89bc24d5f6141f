  // To the right by up to 63, in three steps of a LUT a bit. Each keeps the lowest bits, as many as the steps behind it
  // read, and asks whether one above them is not the sign's. What is beyond the 10 bits of bounds is alike to them;
  // below those bits stands the digit that decides about rounding.
  wire sign = wide[WIDE-1];
  wire [ALL-1:0] all = {{(ALL - WIDE - 1){sign}}, wide, 1'b0};
  wire [25:0] coarse = right[5] ? (right[4] ? all[73:48] : all[57:32]) : right[4] ? all[41:16] : all[25:0];
  wire coarse_over = all[ALL-1:74] != {(ALL-74){sign}}
                  || (right[5:4] != 2'd3 && all[73:58] != {16{sign}})
                  || (!right[5] && all[57:42] != {16{sign}})
                  || (right[5:4] == 2'd0 && all[41:26] != {16{sign}});
  wire [13:0] middle = right[3] ? (right[2] ? coarse[25:12] : coarse[21:8]) : right[2] ? coarse[17:4] : coarse[13:0];
  wire middle_over = (right[3:2] != 2'd3 && coarse[25:22] != {4{sign}})
                  || (!right[3] && coarse[21:18] != {4{sign}})
                  || (right[3:2] == 2'd0 && coarse[17:14] != {4{sign}});
  wire [10:0] fine = right[1] ? (right[0] ? middle[13:3] : middle[12:2]) : right[0] ? middle[11:1] : middle[10:0];
  wire fine_over = (right[1:0] != 2'd3 && middle[13] != sign)
                || (!right[1] && middle[12] != sign)
                || (right[1:0] == 2'd0 && middle[11] != sign);
  wire fits = !(coarse_over || middle_over || fine_over) && fine[10] == sign;
  wire [10:0] near = fits ? fine : {sign, {9{~sign}}, 1'b0};
