// COCO's 17 keypoints, in the order of the service's answers, and the limbs that a drawing joins.

export const LIMBS = [
  [15, 13], [13, 11], [16, 14], [14, 12], [11, 12], [5, 11], [6, 12], [5, 6], [5, 7], [6, 8],
  [7, 9], [8, 10], [1, 2], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6],
];

/** The side of the person that a keypoint belongs to: "left", "right" or "middle". */
export function sideOf(index) {
  if (index === 0) return "middle";
  return index % 2 ? "left" : "right";
}

/** The side of a limb: of the end that has one, or "middle" where the ends differ. */
export function sideOfLimb([a, b]) {
  const [sideA, sideB] = [sideOf(a), sideOf(b)];
  if (sideA === "middle") return sideB;
  if (sideB === "middle" || sideA === sideB) return sideA;
  return "middle";
}
